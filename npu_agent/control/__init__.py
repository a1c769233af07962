"""The agent's own API on its Unix socket: the service and its client."""

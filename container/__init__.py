"""How the agent is packed: a single binary for hosts, and an image for clusters. Nothing here is part of the agent."""

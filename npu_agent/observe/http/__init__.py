"""The agent over HTTP, for probes: off unless it is asked for, and imported only then."""

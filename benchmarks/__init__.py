"""What the agent costs and how quick it is, measured on the real process: `make bench`."""

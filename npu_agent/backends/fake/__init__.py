"""The backend `fake`: cards that do not exist."""

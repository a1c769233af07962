"""What an administrator configures."""

"""The machine: bounded reads, small files, folders that are watched."""

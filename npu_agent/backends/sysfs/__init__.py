"""The backend `sysfs`: accelerators as their drivers show them."""

"""Backends: the code that finds accelerators. One module each behind the contract in `base`; adding one touches one file."""

"""One Kubernetes device plugin per node for NPUs and GPUs of many vendors."""

__version__ = "0.1.0"

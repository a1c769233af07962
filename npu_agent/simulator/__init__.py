"""A simulated kubelet for local development, for `demo` and for tests."""

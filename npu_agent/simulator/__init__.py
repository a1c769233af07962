"""A simulated kubelet for local development, for `npu-agent demo` and for tests."""

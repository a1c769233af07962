"""npu-agent: one Kubernetes device plugin per node for accelerators of many vendors."""

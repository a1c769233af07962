"""What can be seen of who uses devices: kubelet's PodResources."""

"""The DevicePlugin service, its sockets, and the link to kubelet."""

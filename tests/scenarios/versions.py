"""What differs between kubelets of different versions, for scenarios that hold on all of them."""

from tests.scenarios.node import Node


def since(node: Node, version: str) -> bool:
    """Whether the node's kubelet is of that version or newer."""
    return as_numbers(node.version) >= as_numbers(version)


def as_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))

"""What Allocate answers, in wire form: a card has dozens of device nodes, and each is encoded once and not with each pod."""

from collections.abc import Iterable
from functools import lru_cache

from npu_agent.api.v1beta1 import AllocateResponse, CdiDevice, ContainerAllocateResponse, DeviceSpec, Mount
from npu_agent.core.accelerator import ContainerEdits, DeviceNode
from npu_agent.deviceplugin.lists import field


class AllocateAnswer(AllocateResponse):
    """A message that is encoded already."""

    def __init__(self, encoded: bytes) -> None:
        super().__init__()
        self.encoded = encoded

    def SerializeToString(self) -> bytes:  # noqa: N802 - the name that grpclib's codec calls
        return self.encoded


def allocate_answer(containers: Iterable[ContainerEdits]) -> AllocateAnswer:
    """Return the answer that gives each container what it needs."""
    return AllocateAnswer(b"".join(field(1, _container(edits)) for edits in containers))


def _container(edits: ContainerEdits) -> bytes:
    # An encoded message is its fields one after another, so the nodes (field 3) are joined to the rest.
    rest = ContainerAllocateResponse(
        envs=dict(edits.environment),
        mounts=[Mount(container_path=mount.container_path, host_path=mount.host_path, read_only=mount.read_only) for mount in edits.mounts],
        annotations=dict(edits.annotations),
        cdi_devices=[CdiDevice(name=name) for name in edits.cdi_devices],
    )
    return bytes(rest) + b"".join(_device(node) for node in edits.device_nodes)


@lru_cache(maxsize=1024)
def _device(node: DeviceNode) -> bytes:
    spec = DeviceSpec(container_path=node.container_path, host_path=node.host_path, permissions=node.permissions)
    return field(3, bytes(spec))

"""What a container is given: the edits of its devices, out of the node state, seen to exist on the host and remembered."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from npu_agent.core.accelerator import Accelerator, ContainerEdits, DeviceNode, Mount, Part
from npu_agent.core.allocations import allocation_of
from npu_agent.core.edits import EditsConflict, merge
from npu_agent.core.errors import AllocationError
from npu_agent.core.pool import Device
from npu_agent.core.state import NodeState
from npu_agent.host.bounded import Readers, ReadHangs
from npu_agent.host.errors import ShortOfResources
from npu_agent.host.files import below_root
from npu_agent.host.mounts import present
from npu_agent.host.nodes import Folders, SeenNode, look_at
from npu_agent.node.errors import BackendFailed
from npu_agent.node.memory import Memory
from npu_agent.node.tracker import Tracker
from npu_agent.node.writer import StateWriter

LOOK_TIMEOUT_S = 4.0


class Allocator:
    """Answers the device plugins' question what a container is to be given. Nodes are looked at below `host_root`."""

    def __init__(
        self,
        writer: StateWriter,
        memory: Memory,
        tracker: Tracker,
        host_root: Path,
        *,
        allow_plain_files: bool = False,
    ) -> None:
        self._writer = writer
        self._memory = memory
        self._tracker = tracker
        self._prefix = below_root(host_root)
        self._allow_plain_files = allow_plain_files
        self._readers = Readers()

    async def allocate(self, resource: str, devices: Sequence[Device]) -> ContainerEdits:
        """Return what a container needs to use all of `devices`, without optional nodes that the host does not have.

        A node that cannot be used would be an error of the runtime that no user can read, so it is one here. What is given is
        remembered before it is told. Raises AllocationError.
        """
        try:
            edits = merge([device.part.edits for device in devices])
        except EditsConflict as error:
            raise AllocationError(str(error)) from error
        seen = await self._see(_ids(devices), edits.device_nodes, edits.mounts)
        nodes = seen.nodes
        missing = [f"{node.host_path} {nodes[node].wrong}" for node in edits.device_nodes if node.required and nodes[node].wrong]
        missing += [f"{mount.host_path} is not on the host" for mount in edits.mounts if mount.required and not seen.mounts[mount]]
        if missing:
            raise AllocationError(
                f"{_ids(devices)} cannot be used: {'; '.join(missing[:3])}"
                + (f" and {len(missing) - 3} more" if len(missing) > 3 else "")
                + "; load the driver or reset the card, and see npu-agent list"
            )
        self._remember(resource, devices)
        await self._memory.save()
        return seen.of(edits)

    async def prepare(self, devices: Sequence[Device]) -> None:
        """Have each backend that wants it prepare its cards for a container that starts. Raises AllocationError."""
        mine: dict[str, dict[str, Accelerator]] = {}
        for device in devices:
            accelerator = self._accelerator(self._writer.state.value, device)
            mine.setdefault(accelerator.backend, {})[accelerator.id] = self._tracker.as_proposed(accelerator)
        for name, accelerators in mine.items():
            backend = self._tracker.backend(name)
            try:
                if backend is not None and backend.prepares:
                    await backend.prepare(list(accelerators.values()))
            except (BackendFailed, ShortOfResources) as failure:
                raise AllocationError(str(failure)) from failure

    async def absent_nodes(self) -> frozenset[str]:
        """Return the host paths of the optional nodes of all cards that cannot be handed out; of none where that cannot be told now."""
        parts = [part for tracked in self._writer.state.value.inventory.values() for part in tracked.accelerator.parts[:1]]
        nodes = [node for part in parts for node in part.edits.device_nodes if not node.required]

        def look() -> frozenset[str]:
            folders: Folders = {}
            seen = {
                node.host_path: look_at(self._prefix, node, allow_plain_files=self._allow_plain_files, folders=folders) for node in nodes
            }
            return frozenset(path for path, one in seen.items() if one.wrong)

        try:
            return await self._readers.read("all device nodes", look, timeout_s=LOOK_TIMEOUT_S)
        except (ReadHangs, ShortOfResources):
            return frozenset()

    async def as_found(self, parts: Sequence[Part]) -> Sequence[ContainerEdits]:
        """Return what containers get of `parts` as the host has it now: without optional nodes and mounts that are missing.

        Raises AllocationError.
        """
        nodes = list({node: None for part in parts for node in part.edits.device_nodes})
        seen = await self._see("all devices", nodes, list({mount: None for part in parts for mount in part.edits.mounts}))
        return [seen.of(part.edits) for part in parts]

    async def _see(self, whose: str, nodes: Sequence[DeviceNode], mounts: Sequence[Mount]) -> "_Seen":
        def look() -> _Seen:
            folders: Folders = {}
            return _Seen(
                {node: look_at(self._prefix, node, allow_plain_files=self._allow_plain_files, folders=folders) for node in nodes},
                {mount: present(self._prefix, mount) for mount in mounts},
            )

        try:
            return await self._readers.read(whose, look, timeout_s=LOOK_TIMEOUT_S)
        except (ReadHangs, ShortOfResources, OSError) as error:
            raise AllocationError(f"the device nodes of {whose} cannot be looked at: {error}") from error

    def _remember(self, resource: str, devices: Sequence[Device]) -> None:
        """Note what is given, if it is still what kubelet was told: meanwhile the card may have gone, or another have its nodes."""
        state = self._writer.publish()
        pool = state.plan.pools.get(resource)
        present = {device.id: device for device in pool.devices} if pool else {}
        for device in devices:
            now = present.get(device.id)
            if now is None or not now.health.healthy or now.part != device.part:
                reason = (now.health.reason or "its device nodes have changed") if now else "it is not on this host any more"
                raise AllocationError(f"{device.id} cannot be given any more: {reason}; start the pod again")
        self._memory.record([allocation_of(resource, device, self._accelerator(state, device)) for device in devices], self._writer.clock())
        self._writer.put_allocations(self._memory.live)

    def _accelerator(self, state: NodeState, device: Device) -> Accelerator:
        tracked = state.inventory.get(device.accelerator_id)
        if tracked is None:
            raise AllocationError(f"{device.id} is not on this host any more; start the pod again to get another device")
        return tracked.accelerator


@dataclass(frozen=True, slots=True)
class _Seen:
    """What there is on the host of the device nodes and mounts that were looked for."""

    nodes: Mapping[DeviceNode, SeenNode]
    mounts: Mapping[Mount, Sequence[Mount]]

    def of(self, edits: ContainerEdits) -> ContainerEdits:
        """Return `edits` with the nodes and mounts that a container can be given, and the nodes that it cannot do without.

        The runtime is told the device itself: not every one follows links.
        """
        nodes = tuple(
            node if self.nodes[node].wrong or node.host_path == self.nodes[node].path else replace(node, host_path=self.nodes[node].path)
            for node in edits.device_nodes
            if node.required or not self.nodes[node].wrong
        )
        return replace(edits, device_nodes=nodes, mounts=tuple(one for mount in edits.mounts for one in self.mounts[mount]))


def _ids(devices: Sequence[Device]) -> str:
    ids = [device.id for device in devices]
    return ", ".join(ids[:5]) + (f" and {len(ids) - 5} more" if len(ids) > 5 else "")

"""What containers need of this host to use devices: the backends' answers as one, seen to exist."""

import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from npu_agent.backends.base import Backend
from npu_agent.backends.errors import BackendError
from npu_agent.core.accelerator import Accelerator, ContainerEdits
from npu_agent.core.edits import EditsConflict, merge
from npu_agent.core.inventory import Inventory
from npu_agent.core.pool import Device
from npu_agent.deviceplugin.errors import AllocationError
from npu_agent.flow.current import Current
from npu_agent.host.bounded import Readers, ReadHangs

LOOK_TIMEOUT_S = 4.0


class HostDevices:
    """Answers the device plugins' question what a container is to be given. Paths are looked at below `host_root`."""

    def __init__(self, backends: Mapping[str, Backend], inventory: Current[Inventory], host_root: Path) -> None:
        self._backends = backends
        self._inventory = inventory
        self._host_root = host_root
        self._readers = Readers()

    @property
    def wants_pre_start(self) -> bool:
        """Whether any backend wants to be called before containers start."""
        return any(backend.wants_pre_start for backend in self._backends.values())

    async def container_edits(self, devices: Sequence[Device]) -> ContainerEdits:
        """Return what a container needs to use all of `devices`, without optional nodes that the host does not have.

        A node that is missing, or is a folder, would be an error of the runtime that no user can read, so it is one here. Raises
        AllocationError.
        """
        try:
            edits = merge([self._edits(device) for device in devices])
        except EditsConflict as error:
            raise AllocationError(str(error)) from error
        paths = [node.host_path for node in edits.device_nodes]
        try:
            present = await self._readers.read(" ".join(paths), lambda: self._present(paths), timeout_s=LOOK_TIMEOUT_S)
        except ReadHangs as error:
            raise AllocationError(
                f"the device nodes of {', '.join(device.id for device in devices)} cannot be looked at: {error}"
            ) from error
        if missing := [node.host_path for node in edits.device_nodes if node.required and node.host_path not in present]:
            raise AllocationError(
                f"{', '.join(device.id for device in devices)} cannot be used: {', '.join(missing)} is not on the host;"
                " load the driver or reset the card, and see npu-agent list"
            )
        return replace(edits, device_nodes=tuple(node for node in edits.device_nodes if node.host_path in present))

    async def pre_start(self, devices: Sequence[Device]) -> None:
        """Have each backend that wants it prepare its cards. Raises AllocationError."""
        for name, backend in self._backends.items():
            accelerators = [self._accelerator(device) for device in devices]
            mine = list(dict.fromkeys(accelerator for accelerator in accelerators if accelerator.backend == name))
            if backend.wants_pre_start and mine:
                try:
                    await backend.pre_start(mine)
                except BackendError as error:
                    raise AllocationError(str(error)) from error

    def _edits(self, device: Device) -> ContainerEdits:
        accelerator = self._accelerator(device)
        return self._backends[accelerator.backend].container_edits(accelerator, device.partition)

    def _accelerator(self, device: Device) -> Accelerator:
        tracked = self._inventory.value.get(device.accelerator_id)
        if tracked is None:
            raise AllocationError(f"{device.id} is not on this host any more; start the pod again to get another device")
        return tracked.accelerator

    def _present(self, paths: Sequence[str]) -> set[str]:
        root = str(self._host_root).rstrip("/")
        return {path for path in paths if _is_file(f"{root}/{path}")}


def _is_file(path: str) -> bool:
    try:
        return not stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError:
        return False

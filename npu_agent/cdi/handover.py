"""Devices handed over by their names in CDI: the specs follow the node state, and kubelet is told names of what is in them."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import anyio
import anyio.to_thread

from npu_agent.cdi import folder as files
from npu_agent.cdi.errors import SpecUnwritable
from npu_agent.cdi.spec import annotation_of, file_of, qualified, spec_of
from npu_agent.core.accelerator import ContainerEdits, DeviceNode, Part
from npu_agent.core.errors import AllocationError
from npu_agent.core.host import Host
from npu_agent.core.pool import Device
from npu_agent.core.state import NodeState
from npu_agent.flow.current import Current

LOOK_AGAIN_S = 30.0
"""Seconds between two looks whether the files are still there, and whether optional device nodes have come or gone."""

Way = Literal["cdi", "both"]
"""Whether a container gets its device nodes and mounts by names of CDI alone, or is told of them both ways."""

AsFound = Callable[[Sequence[Part]], Awaitable[Sequence[ContainerEdits]]]
"""Returns what containers get of parts, as it is on the host now. Raises AllocationError."""

Wanted = Mapping[str, Mapping[str, Part]]
"""The parts that the specs are to have, by resource and by the id of the device."""

log = logging.getLogger(__name__)


class Handover:
    """Stands between kubelet and `host`: what `host` gives is written to specs in `folder`, and named.

    `held` returns the resources of which a pod may still hold a device: their specs outlive the agent, because a container that
    starts again is given the same names. `tell` is told what is wrong, and an empty text when nothing is any more.
    """

    def __init__(
        self, folder: Path, way: Way, host: Host, *, as_found: AsFound, held: Callable[[], frozenset[str]], tell: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._way = way
        self._host = host
        self._as_found = as_found
        self._held = held
        self._tell = tell
        self._written: dict[str, dict[str, ContainerEdits]] = {}
        self._writing = anyio.Lock()

    async def run(self, state: Current[NodeState]) -> None:
        """Keep the specs in step with the plan until cancelled; then take those away of which nobody holds anything."""
        try:
            while True:
                wanted = _wanted(state.value)
                await self._bring(wanted)
                with anyio.move_on_after(LOOK_AGAIN_S):
                    while _wanted(state.value) == wanted:
                        await state.changed()
        finally:
            with anyio.CancelScope(shield=True):
                await self._leave()

    async def allocate(self, resource: str, devices: Sequence[Device]) -> ContainerEdits:
        """Return what `host` gives, by names that the runtime finds in a spec by then. Raises AllocationError."""
        edits = await self._host.allocate(resource, devices)
        found = {node.container_path: node for node in edits.device_nodes}
        mine = {device.id: _of(device.part.edits, found) for device in devices}
        try:
            await self._ensure(resource, mine)
        except SpecUnwritable as error:
            if self._way == "cdi":
                raise AllocationError(str(error)) from error
            return edits  # it has all that the container needs, and `run` tells of the problem
        names = tuple(qualified(resource, device.id) for device in devices)
        named = replace(
            edits, cdi_devices=(*edits.cdi_devices, *names), annotations=(*edits.annotations, (annotation_of(resource), ",".join(names)))
        )
        return named if self._way == "both" else replace(named, device_nodes=(), mounts=())

    async def prepare(self, devices: Sequence[Device]) -> None:
        """Prepare `devices` for a container that is about to start. Raises AllocationError."""
        await self._host.prepare(devices)

    async def _ensure(self, resource: str, mine: Mapping[str, ContainerEdits]) -> None:
        async with self._writing:
            known = self._written.get(resource, {})
            if any(known.get(id) != edits for id, edits in mine.items()) or not await self._is_there(resource):
                await self._write(resource, {**known, **mine})

    async def _bring(self, wanted: Wanted) -> None:
        """Write what the plan has. What cannot be written is told, and tried again."""
        problem = ""
        async with self._writing:
            for resource, parts in wanted.items():
                try:
                    found = await self._as_found([*parts.values()])
                    await self._write(resource, dict(zip(parts, found, strict=True)))
                except (AllocationError, SpecUnwritable) as error:
                    problem = str(error)
            try:
                await self._remove(keep={*wanted, *self._held()})
            except SpecUnwritable as error:
                problem = problem or str(error)
        self._tell(problem)

    async def _leave(self) -> None:
        try:
            async with self._writing:
                await self._remove(keep=self._held())
        except SpecUnwritable as error:
            log.warning("%s", error)

    async def _write(self, resource: str, devices: Mapping[str, ContainerEdits]) -> None:
        spec = spec_of(resource, devices)
        try:
            if spec is None:
                if resource not in self._held():
                    await anyio.to_thread.run_sync(files.remove, self._folder, file_of(resource))
            else:
                await anyio.to_thread.run_sync(files.write, self._folder, file_of(resource), spec)
        except OSError as error:
            self._written.pop(resource, None)
            raise SpecUnwritable(
                f"the CDI spec {self._folder / file_of(resource)} cannot be written: {error.strerror};"
                " see that the folder is mounted and may be written to"
            ) from error
        self._written[resource] = dict(devices)

    async def _is_there(self, resource: str) -> bool:
        return await anyio.to_thread.run_sync((self._folder / file_of(resource)).exists)

    async def _remove(self, keep: frozenset[str] | set[str]) -> None:
        """Take away the files of ours that are of no resource in `keep`, those of an agent before us too."""
        kept = {file_of(resource) for resource in keep}

        def remove() -> None:
            for name in files.ours(self._folder):
                if name not in kept:
                    files.remove(self._folder, name)

        try:
            await anyio.to_thread.run_sync(remove)
        except OSError as error:
            raise SpecUnwritable(f"CDI specs in {self._folder} cannot be removed: {error.strerror}") from error


def _wanted(state: NodeState) -> Wanted:
    return {resource: {device.id: device.part for device in pool.devices} for resource, pool in state.plan.pools.items()}


def _of(edits: ContainerEdits, found: Mapping[str, DeviceNode]) -> ContainerEdits:
    """Return what one device needs of what was `found` for several: the nodes that the host has, under the paths that it has them."""
    nodes = tuple(found[node.container_path] for node in edits.device_nodes if node.container_path in found)
    return replace(edits, device_nodes=nodes)

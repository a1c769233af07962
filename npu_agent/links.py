"""The links to kubelet: one for each resource of the plan, for as long as it is there."""

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import anyio

from npu_agent.core.errors import alone
from npu_agent.core.host import Host
from npu_agent.core.pool import Pool
from npu_agent.core.registration import Registration
from npu_agent.deviceplugin.comparison import SharedAnswer
from npu_agent.deviceplugin.errors import FolderUnlinked
from npu_agent.deviceplugin.folder import KUBELET_SOCKET, identity
from npu_agent.deviceplugin.link import KubeletLink
from npu_agent.deviceplugin.socket import remove_stale_sockets
from npu_agent.flow.current import Current
from npu_agent.flow.endless import without_end
from npu_agent.flow.tending import Tending
from npu_agent.host.watching import watch_folder
from npu_agent.instance import Instance
from npu_agent.node.node import Node
from npu_agent.observe.errors import HoldersUnknown
from npu_agent.observe.podresources import PodResources

log = logging.getLogger(__name__)


class Links:
    """Has a link in `folder`, kubelet's folder of device plugins, for each resource of the node's plan.

    `host` answers what a container is given. There is no link while another agent serves this kubelet, which the lock of `instance`
    tells. `changed` is called whenever a registration changes.
    """

    def __init__(
        self, folder: Path, node: Node, host: Host, instance: Instance, pod_resources: PodResources, changed: Callable[[], None]
    ) -> None:
        self._folder = folder
        self._node = node
        self._host = host
        self._instance = instance
        self._pod_resources = pod_resources
        self._changed = changed
        self._pools: dict[str, Current[Pool]] = {}
        self._links: dict[str, KubeletLink] = {}
        self._ask_kubelet = SharedAnswer(self._allocatable)
        self._offered: Current[Mapping[str, str]] = Current({})
        """The resources that there are; a link is tended for each."""
        self._kubelet: object = None

    async def run(self) -> None:
        """Tend the links until cancelled. Raises FolderUnlinked, in a group."""
        remove_stale_sockets(self._folder)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(without_end, self._follow_plan)
            tasks.start_soon(without_end, Tending(self._offered, self._link, self._link_ended).run)
            tell = partial(self._node.writer.tell, "watching kubelet's folder")
            tasks.start_soon(without_end, watch_folder, self._folder, self._ring, tell)

    def registrations(self) -> Mapping[str, Registration]:
        """Return how the resources stand that have a link."""
        return {name: link.registration.value for name, link in self._links.items()}

    def sockets(self) -> frozenset[Path]:
        """Return the files of our sockets that are there."""
        return frozenset(path for link in self._links.values() if (path := link.own_socket))

    async def _follow_plan(self) -> None:
        async for state in self._node.state.follow():
            pools = state.plan.pools
            for name, pool in pools.items():
                if name in self._pools:
                    self._pools[name].set(pool)
                else:
                    self._pools[name] = Current(pool)
            self._offer()

    def _offer(self) -> None:
        """Have a link for each resource, unless another agent serves this kubelet."""
        other = self._instance.take_kubelet_folder()
        self._node.writer.tell("kubelet's folder", other)
        self._offered.set({} if other else {name: name for name in self._node.state.value.plan.pools})

    async def _link(self, resource: str, _: str) -> None:
        link = KubeletLink(
            self._folder,
            self._pools[resource],
            self._host,
            tell=partial(self._node.writer.tell, f"resource {resource}"),
            ask=self._ask_kubelet,
        )
        self._links[resource] = link
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._tell, link.registration)
                await link.run()
        finally:
            del self._links[resource]
            self._changed()

    async def _allocatable(self) -> Mapping[str, frozenset[str]] | None:
        try:
            return await self._pod_resources.allocatable()
        except HoldersUnknown:
            return None

    def _link_ended(self, resource: str, error: Exception | None) -> None:
        cause = alone(error) if isinstance(error, ExceptionGroup) else error
        if isinstance(cause, FolderUnlinked):
            raise cause
        log.error("the link of %s failed and is made again", resource, exc_info=error)

    def _ring(self) -> None:
        kubelet = identity(self._folder / KUBELET_SOCKET)
        if kubelet != self._kubelet:
            self._kubelet = kubelet
            self._node.kubelet_changed()
        if not self._instance.kubelet_lock.is_held():
            self._offer()
        for link in self._links.values():
            link.ring()

    async def _tell(self, registration: Current[Registration]) -> None:
        async for _ in registration.follow():
            self._changed()

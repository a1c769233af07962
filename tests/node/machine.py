"""A machine whose cards are known by texts that appear, vanish, are shared and move, and an agent with one link to kubelet on it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import anyio

from npu_agent.backends.base import Backend
from npu_agent.core.accelerator import Accelerator, ContainerEdits, DeviceNode, Part, Reading
from npu_agent.core.identity import as_device_id, stable_id
from npu_agent.core.pool import Pool
from npu_agent.deviceplugin.link import KubeletLink
from npu_agent.flow.current import Current
from npu_agent.node.holding import Ask
from npu_agent.node.memory import Store
from npu_agent.node.node import Node
from npu_agent.node.tracker import Asked
from tests.node.watched import NPU, Clock, configured


@dataclass
class Card:
    """A piece of hardware: where it is, which device node the kernel gave it, and what it says of itself now."""

    number: int
    slot: int
    index: int
    says: str = ""
    present: bool = True

    @property
    def address(self) -> str:
        return f"0000:{0x20 + self.slot:02x}:00.0"

    @property
    def node(self) -> str:
        return f"/dev/npu{self.index}"


class Machine:
    """The hardware. `looks` counts the scans that have seen it as it is now."""

    def __init__(self, cards: int) -> None:
        self.cards = [Card(number, number, number, f"UUID-{number}") for number in range(cards)]
        self.looks = Current(0)
        self.hints = Current(0)

    def owner(self, node: str) -> int:
        """Return which card a device node opens now."""
        (card,) = [card for card in self.cards if card.node == node and card.present]
        return card.number


class MachineBackend(Backend):
    """Proposes ids as the sysfs backend does: uuid, else address, and both where several claim one uuid."""

    name = "machine"

    def __init__(self, machine: Machine) -> None:
        super().__init__({}, host_root=Path("/"))
        self._machine = machine

    async def scan(self) -> Sequence[Accelerator]:
        present = [card for card in self._machine.cards if card.present]
        said = [card.says for card in present if card.says]
        self._machine.looks.set(self._machine.looks.value + 1)
        return [self._accelerator(card, said.count(card.says) > 1) for card in present]

    async def probe(self, accelerator: Accelerator) -> Reading:
        return Reading(healthy=True)

    async def hints(self) -> AsyncIterator[None]:
        async for _ in self._machine.hints.follow():
            yield

    def _accelerator(self, card: Card, is_twin: bool) -> Accelerator:
        id = stable_id(uuid=card.says, pci_address=card.address)
        edits = ContainerEdits((DeviceNode(card.node, card.node),))
        return Accelerator(
            as_device_id(f"{id}_{card.address.replace(':', '-')}") if is_twin else id,
            self.name,
            "unruly",
            name=f"npu{card.index}",
            pci_address=card.address,
            uuid=card.says,
            parts=(Part(edits=edits),),
        )


class Agent:
    """The node looked after, and its link."""

    def __init__(self, machine: Machine, node: Node) -> None:
        self.node = node
        self._machine = machine

    async def settle(self) -> None:
        """Return when the agent has seen the machine as it is now."""
        looks = self._machine.looks.value
        self._machine.hints.set(self._machine.hints.value + 1)
        with anyio.fail_after(5):
            while self._machine.looks.value == looks:
                await self._machine.looks.changed()
            async for state in self.node.state.follow():
                if not any(tracked.unread for tracked in state.inventory.values()):
                    return

    @property
    def pool(self) -> Pool:
        return self.node.state.value.plan.pools[NPU]

    def healthy(self) -> set[str]:
        return {device.id for device in self.pool.devices if device.health.healthy}


@asynccontextmanager
async def agent_on(
    machine: Machine, plugin_dir: Path, host_root: Path, *, ask: Ask, store: Store | None, clock: Clock
) -> AsyncIterator[Agent]:
    """Run an agent while entered; its first look is over then."""
    backends: Mapping[str, Asked] = {"machine": Asked(lambda: MachineBackend(machine))}
    configuration = configured(probe_interval_s=60.0)
    node = Node(configuration, backends, host_root=host_root, ask=ask, store=store, clock=clock, allow_plain_files=True)
    ready = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(node.run, ready)
        with anyio.fail_after(5):
            await ready.wait()
        pool = Current(node.state.value.plan.pools[NPU])
        link = KubeletLink(plugin_dir, pool, node.allocator, tell=lambda text: None, ask=None)

        async def follow() -> None:
            async for state in node.state.follow():
                pool.set(state.plan.pools[NPU])

        async def ring() -> None:
            while True:
                await anyio.sleep(0.002)
                link.ring()

        tasks.start_soon(follow)
        tasks.start_soon(link.run)
        tasks.start_soon(ring)
        yield Agent(machine, node)
        tasks.cancel_scope.cancel()

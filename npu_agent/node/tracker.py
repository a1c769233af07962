"""The accelerators of all backends, followed: each backend scanned, each card probed, each reading published when it is there."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import anyio

from npu_agent.backends.base import Backend
from npu_agent.config.configuration import Configuration
from npu_agent.core import inventory as tracking
from npu_agent.core.accelerator import Accelerator
from npu_agent.core.naming import known_hardware, named, one_of_each
from npu_agent.flow.current import Current
from npu_agent.flow.tending import Tending
from npu_agent.host.errors import ShortOfResources
from npu_agent.node.errors import BackendFailed
from npu_agent.node.guarded import Guarded
from npu_agent.node.memory import Memory, held_names
from npu_agent.node.writer import StateWriter

AGENT = "agent"
"""The source of problems that are our own and no card's."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A backend that is wanted: how it is made, and the options by which another one is told from it."""

    make: Callable[[], Backend] = field(compare=False)
    options: Mapping[str, object] = field(default_factory=dict)


class Tracker:
    """Follows the accelerators of the backends that are `wanted`, in the order in which they are named."""

    def __init__(self, wanted: Current[Mapping[str, Asked]], configuration: Configuration, writer: StateWriter, memory: Memory) -> None:
        self._wanted = wanted
        self._configuration = configuration
        self._writer = writer
        self._memory = memory
        self._backends: dict[str, Guarded] = {}
        self._found: dict[str, Sequence[Accelerator]] = {}
        self._proposed: dict[str, Accelerator] = {}
        """By id the card as its backend returned it, which may call it by another id."""
        self._looked: set[str] = set()
        self._scan_wanted: dict[str, anyio.Event] = {}
        self._probing: set[str] = set()
        self._short: set[str] = set()
        self._changed = anyio.Event()
        self._to_probe = anyio.Event()

    async def run(self) -> None:
        """Scan and probe for as long as it runs."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(Tending(self._wanted, self._tend, self._failed).run)
            tasks.start_soon(self._probe_again)

    async def first_look(self, *, scan_within_s: float, read_within_s: float) -> None:
        """Return when each backend has looked once and each card has been read, or when the time for either is over."""
        with anyio.move_on_after(scan_within_s):
            while not self._looked.issuperset(self._wanted.value):
                await self._changed.wait()
        with anyio.move_on_after(read_within_s):
            while any(tracked.unread for tracked in self._writer.inventory.values()):
                await self._changed.wait()

    async def look_again(self) -> None:
        """Have all backends scan soon."""
        for wanted in self._scan_wanted.values():
            wanted.set()

    def backend(self, name: str) -> Guarded | None:
        """Return the backend of that name, if it is running."""
        return self._backends.get(name)

    def as_proposed(self, accelerator: Accelerator) -> Accelerator:
        """Return the card as its backend knows it."""
        return self._proposed.get(accelerator.id, accelerator)

    async def started(self, name: str) -> None:
        """Return when the backend of that name runs."""
        while name not in self._backends:
            await self._changed.wait()

    def merge(self) -> None:
        """Make the inventory anew out of what all backends found last."""
        found = one_of_each(self._found[name] for name in self._wanted.value if name in self._found)
        live = self._memory.live
        result = named(found, known_hardware(self._writer.inventory, live, self._proposed), held_names(live))
        self._proposed.update(zip((card.id for card in result.accelerators), found, strict=True))
        self._writer.put_inventory(
            tracking.after_scan(self._writer.inventory, result.accelerators, now=self._writer.clock(), doubts=result.doubts)
        )
        self._proposed = {id: card for id, card in self._proposed.items() if id in self._writer.inventory}
        self._to_probe.set()
        self._ring()

    async def _tend(self, name: str, asked: Asked) -> None:
        backend = Guarded(name, asked.make, probe_timeout_s=self._configuration.probe_timeout_s)
        self._scan_wanted[name] = anyio.Event()
        try:
            await backend.start()
            self._backends[name] = backend
            self._ring()
            self._writer.put_preparing(frozenset(name for name, one in self._backends.items() if one.prepares))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._follow_hints, backend)
                await self._scan_again(backend)
        finally:
            self._backends.pop(name, None)
            if name not in self._wanted.value:
                self._found.pop(name, None)
                self._writer.tell(f"backend {name}", "")
                self.merge()
            with anyio.CancelScope(shield=True):
                try:
                    await backend.stop()
                except (BackendFailed, ShortOfResources) as failure:
                    self._writer.tell(f"backend {name}", str(failure))

    def _failed(self, name: str, error: Exception | None) -> None:
        self._writer.tell(f"backend {name}", str(error) if error else "it ended by itself")
        self._looked.add(name)
        self._ring()

    async def _scan_again(self, backend: Guarded) -> None:
        while True:
            self._scan_wanted[backend.name] = anyio.Event()
            await self._scan(backend)
            with anyio.move_on_after(self._configuration.scan_interval_s):
                await self._scan_wanted[backend.name].wait()

    async def _scan(self, backend: Guarded) -> None:
        try:
            found, wrong = await backend.scan()
        except ShortOfResources as shortage:
            self._be_short("scan", shortage)
        except BackendFailed as failure:
            self._writer.tell(f"backend {backend.name}", f"{failure}; what it found before stays")
        else:
            self._writer.tell(f"backend {backend.name}", wrong)
            self._be_well("scan")
            self._found[backend.name] = found
            self.merge()
        self._looked.add(backend.name)
        self._ring()

    async def _follow_hints(self, backend: Guarded) -> None:
        source = f"hints of the backend {backend.name}"
        while True:
            try:
                async for _ in backend.hints():
                    self._writer.tell(source, "")
                    self._scan_wanted[backend.name].set()
                return
            except BackendFailed as failure:
                self._writer.tell(source, f"{failure}; it is looked at every {self._configuration.scan_interval_s:g} s")
            await anyio.sleep(self._configuration.scan_interval_s)

    async def _probe_again(self) -> None:
        async with anyio.create_task_group() as tasks:
            while True:
                self._to_probe = anyio.Event()
                self._start_probes(tasks, lambda tracked: tracked.wants_probe)
                with anyio.move_on_after(self._configuration.probe_interval_s) as waiting:
                    while True:
                        await self._to_probe.wait()
                        self._to_probe = anyio.Event()
                        self._start_probes(tasks, lambda tracked: tracked.unread)
                assert waiting.cancelled_caught

    def _start_probes(self, tasks: anyio.abc.TaskGroup, which: Callable[[tracking.Tracked], bool]) -> None:
        for id, tracked in self._writer.inventory.items():
            # A card that has not answered yet is not asked again, and delays no other.
            if which(tracked) and tracked.wants_probe and id not in self._probing:
                backend = self._backends.get(tracked.accelerator.backend)
                if backend is not None:
                    self._probing.add(id)
                    tasks.start_soon(self._probe, backend, tracked.accelerator)

    async def _probe(self, backend: Guarded, accelerator: Accelerator) -> None:
        try:
            reading = await backend.probe(self.as_proposed(accelerator))
        except ShortOfResources as shortage:
            # It says nothing of the card, whose health stays what it was last known to be.
            self._be_short(accelerator.id, shortage)
            return
        finally:
            self._probing.discard(accelerator.id)
        self._be_well(accelerator.id)
        before = self._writer.inventory
        after = tracking.after_reading(
            before, accelerator.id, reading, now=self._writer.clock(), recover_after=self._configuration.recover_after
        )
        if after is before:
            return
        self._writer.put_inventory(after)
        self._ring()
        was, now = before[accelerator.id], after[accelerator.id]
        if was.health.healthy != now.health.healthy and not was.unread and accelerator.backend in self._scan_wanted:
            # A card that fails may be about to leave; kubelet should not wait for the next scan to hear of it.
            self._scan_wanted[accelerator.backend].set()

    def _be_short(self, what: str, shortage: ShortOfResources) -> None:
        self._short.add(what)
        self._writer.tell(AGENT, str(shortage))

    def _be_well(self, what: str) -> None:
        if self._short:
            self._short.discard(what)
            self._short.intersection_update(["scan", *self._writer.inventory])
            if not self._short:
                self._writer.tell(AGENT, "")

    def _ring(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

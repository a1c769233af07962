"""A backend whose cards a test puts on a shelf and takes away."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio

from npu_agent.backends.base import Backend
from npu_agent.backends.errors import BackendError
from npu_agent.core.accelerator import Accelerator, ContainerEdits, DeviceNode, Part, Reading


class Shelf(Backend):
    """Cards by id with what a look at them says: a reading, an exception to raise, or None to hang for ever."""

    name = "shelf"

    def __init__(self, *ids: str, host_root: Path = Path("/"), name: str = "shelf") -> None:
        super().__init__({}, host_root=host_root)
        self.name = name  # type: ignore[misc]
        self.cards: dict[str, Accelerator] = {}
        self.says: dict[str, Reading | Exception | None] = {}
        self.scan_fails: Exception | None = None
        self._changed = anyio.Event()
        for id in ids:
            self.put(id)

    def put(self, id: str, *nodes: DeviceNode, **fields: object) -> None:
        """Put a card there, or in the place of the one of that id, whole and in halves, with these nodes."""
        edits = ContainerEdits(nodes)
        parts = () if fields.get("unusable") else (Part("", "", edits), Part("half", "left", edits), Part("half", "right", edits))
        self.cards[id] = Accelerator(id, self.name, "shelved", **{"parts": parts, **fields})  # type: ignore[arg-type]
        self.says.setdefault(id, Reading(healthy=True))
        self._ring()

    def take(self, id: str) -> None:
        del self.cards[id]
        self._ring()

    async def scan(self) -> Sequence[Accelerator]:
        if self.scan_fails is not None:
            raise self.scan_fails
        return list(self.cards.values())

    async def probe(self, accelerator: Accelerator) -> Reading:
        said = self.says[accelerator.id]
        if said is None:
            await anyio.sleep_forever()
        if isinstance(said, Exception):
            raise said
        assert said is not None
        return said

    async def hints(self) -> AsyncIterator[None]:
        while True:
            await self._changed.wait()
            self._changed = anyio.Event()
            yield

    def _ring(self) -> None:
        self._changed.set()


class Preparing(Shelf):
    """A shelf whose cards are prepared before a container starts; "stubborn" refuses."""

    def __init__(self, *ids: str, host_root: Path = Path("/"), name: str = "preparing") -> None:
        super().__init__(*ids, host_root=host_root, name=name)
        self.prepared: list[str] = []

    async def prepare(self, accelerators: Sequence[Accelerator]) -> None:
        if any(accelerator.id == "stubborn" for accelerator in accelerators):
            raise BackendError("stubborn cannot be reset; unload its model first")
        self.prepared += [accelerator.id for accelerator in accelerators]

"""What a backend does that writes only the methods it must."""

from collections.abc import Sequence
from pathlib import Path

from npu_agent.backends.base import Backend, Commanded, Hints, Preparing
from npu_agent.core.accelerator import WHOLE, Accelerator, Reading


class Smallest(Backend):
    name = "smallest"

    async def scan(self) -> Sequence[Accelerator]:
        return [Accelerator("a", self.name, "small")]

    async def probe(self, accelerator: Accelerator) -> Reading:
        return Reading(True)


async def test_the_smallest_backend_has_whole_cards_and_none_of_the_optional_abilities() -> None:
    async with Smallest({}, host_root=Path("/"), probe_timeout_s=7) as backend:
        (card,) = await backend.scan()
        assert card.parts == (WHOLE,)
        assert backend.probe_timeout_s == 7
        assert not isinstance(backend, Hints | Preparing | Commanded)

"""What a backend does that writes only the methods it must."""

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from npu_agent.backends.base import Backend
from npu_agent.backends.errors import BackendError
from npu_agent.core.accelerator import Accelerator, ContainerEdits, Reading


class Smallest(Backend):
    name = "smallest"

    async def scan(self) -> Sequence[Accelerator]:
        return [Accelerator("a", self.name, "small")]

    async def probe(self, accelerator: Accelerator) -> Reading:
        return Reading(True)

    def container_edits(self, accelerator: Accelerator, partition: str = "") -> ContainerEdits:
        return ContainerEdits()


async def test_the_smallest_backend_has_no_parts_no_commands_and_nothing_to_prepare() -> None:
    async with Smallest({}, host_root=Path("/")) as backend:
        (card,) = await backend.scan()
        assert backend.partition_names(card, "2core") == ()
        assert not backend.wants_pre_start
        await backend.pre_start([card])
        with pytest.raises(BackendError, match="the backend 'smallest' takes no commands, so not 'fail' either"):
            await backend.command("fail", ["a"])


async def test_the_smallest_backend_never_says_that_cards_changed() -> None:
    async with Smallest({}, host_root=Path("/")) as backend:
        with anyio.move_on_after(0.02) as waiting:
            await anext(aiter(backend.watch()))
        assert waiting.cancelled_caught

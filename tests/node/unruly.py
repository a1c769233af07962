"""A backend of somebody else's that does at one of its seams what no backend should."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio

from npu_agent.backends.base import Backend
from npu_agent.core.accelerator import Accelerator, Reading

SEAMS = ("make", "enter", "scan", "probe", "hints", "prepare", "command", "leave")

GOOD = Reading(healthy=True)


class Unruly(Backend):
    """Cards by id. What `misbehaves` has for a seam is called there: it may raise, hang, or return nonsense in place of an answer."""

    name = "unruly"

    def __init__(self, *ids: str, misbehaves: dict[str, Callable[[], Any]] | None = None, name: str = "unruly") -> None:
        super().__init__({}, host_root=Path("/"))
        self.name = name  # type: ignore[misc]
        self.misbehaves = misbehaves or {}
        self.cards = [Accelerator(id, name, "unruly", name=id) for id in ids]
        self.prepared: list[str] = []
        self.left = False

    async def __aenter__(self) -> "Unruly":
        await self._at("enter", None)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.left = True
        await self._at("leave", None)

    async def scan(self) -> Sequence[Accelerator]:
        return await self._at("scan", list(self.cards))  # type: ignore[no-any-return]

    async def probe(self, accelerator: Accelerator) -> Reading:
        return await self._at("probe", GOOD)  # type: ignore[no-any-return]

    async def hints(self) -> AsyncIterator[None]:
        await self._at("hints", None)
        await anyio.sleep_forever()
        yield

    async def prepare(self, accelerators: Sequence[Accelerator]) -> None:
        await self._at("prepare", None)
        self.prepared += [accelerator.id for accelerator in accelerators]

    async def command(self, name: str, arguments: Sequence[str]) -> str:
        return await self._at("command", "done")  # type: ignore[no-any-return]

    async def _at(self, seam: str, answer: Any) -> Any:
        if seam not in self.misbehaves:
            return answer
        answer = self.misbehaves[seam]()
        return await answer if hasattr(answer, "__await__") else answer


def maker(backend: Unruly) -> Callable[[], Backend]:
    """Return what makes `backend`, which may misbehave in being made too."""

    def make() -> Backend:
        return backend.misbehaves["make"]() if "make" in backend.misbehaves else backend

    return make


def raises(error: BaseException) -> Callable[[], Any]:
    """Return what raises `error`."""

    def fail() -> Any:
        raise error

    return fail

"""The pages: a closed table of paths, and what each says of what there is."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from npu_agent.core.probing import Verdict
from npu_agent.observe.probes import Probes

TEXT = "text/plain; charset=utf-8"

OK = 200
UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request is answered with. `headers` are those beside the ones that every answer has."""

    status: int
    body: bytes
    content_type: str = TEXT
    headers: tuple[tuple[str, str], ...] = ()


Route = Callable[[], Awaitable[Answer]]
"""Takes what there is now and returns how it is shown. What it raises is answered with 500 and logged."""


def routes(probes: Probes) -> Mapping[str, Route]:
    """Return all paths that there are."""

    async def healthz() -> Answer:
        return page(await probes.live(), failed="not alive")

    async def readyz() -> Answer:
        return page(probes.ready(), failed="not ready")

    return {"/healthz": healthz, "/readyz": readyz}


def page(verdict: Verdict, *, failed: str) -> Answer:
    """Return the answer of a probe: `ok` or what `failed` says, and a line for each thing that is worth one."""
    text = "\n".join(("ok" if verdict.passed else failed, *verdict.lines))
    return Answer(OK if verdict.passed else UNAVAILABLE, f"{text}\n".encode())

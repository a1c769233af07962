"""Whatever a backend does at its seams, its caller gets an answer or one kind of failure, in time."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import anyio
import pytest

from npu_agent.backends.errors import BackendError
from npu_agent.core.accelerator import Accelerator
from npu_agent.core.errors import CommandRefused
from npu_agent.host.errors import ShortOfResources
from npu_agent.node import guarded
from npu_agent.node.errors import BackendFailed
from npu_agent.node.guarded import Guarded
from tests.node.unruly import GOOD, Unruly, maker, raises

CARD = Accelerator("a", "unruly", "unruly", name="a")


async def started(backend: Unruly) -> Guarded:
    asked = Guarded("unruly", maker(backend), probe_timeout_s=0.01)
    await asked.start()
    return asked


async def at(seam: str, asked: Guarded) -> object:
    """Ask at a seam of a backend that has been started."""
    match seam:
        case "scan":
            return await asked.scan()
        case "hints":
            async for _ in asked.hints():
                pass
        case "prepare":
            await asked.prepare([CARD])
        case "leave":
            await asked.stop()
    return None


@pytest.fixture
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for doing in ("MAKE", "ENTER", "LEAVE", "SCAN", "COMMAND", "PREPARE"):
        monkeypatch.setattr(guarded, f"{doing}_TIMEOUT_S", 0.02)
    monkeypatch.setattr(guarded, "PATIENCE_S", 0.02)


MISDEEDS = [
    (raises(ZeroDivisionError("oops")), "ZeroDivisionError: oops"),
    (raises(OSError(5, "Input/output error")), "Input/output error"),
    (raises(BackendError("reset the bus")), "reset the bus"),
    (anyio.sleep_forever, "did not answer within"),
]
IDS = ["raises", "OSError", "BackendError", "hangs"]


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(("misdeed", "said"), MISDEEDS, ids=IDS)
@pytest.mark.parametrize("seam", ["make", "enter"])
async def test_a_backend_that_cannot_be_started_fails_in_one_way(seam: str, misdeed: Callable[[], Any], said: str) -> None:
    if (seam, said) == ("make", "did not answer within"):
        stuck = threading.Event()
        backend = Unruly(misbehaves={"make": lambda: stuck.wait(60)})
    else:
        stuck = None
        backend = Unruly(misbehaves={seam: misdeed})
    with pytest.raises(BackendFailed, match=said):
        await started(backend)
    if stuck is not None:
        stuck.set()


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(("misdeed", "said"), MISDEEDS, ids=IDS)
@pytest.mark.parametrize("seam", ["scan", "prepare", "leave"])
async def test_a_backend_that_fails_at_a_seam_fails_in_one_way(seam: str, misdeed: Callable[[], Any], said: str) -> None:
    with pytest.raises(BackendFailed, match=said):
        await at(seam, await started(Unruly("a", misbehaves={seam: misdeed})))


async def test_hints_that_fail_are_a_failure_of_the_backend() -> None:
    with pytest.raises(BackendFailed, match="failed while watching: ZeroDivisionError: oops"):
        await at("hints", await started(Unruly(misbehaves={"hints": raises(ZeroDivisionError("oops"))})))


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(("misdeed", "said"), [*MISDEEDS, (lambda: None, "it returned nothing"), (lambda: True, "of the type bool")])
async def test_a_probe_that_fails_is_a_bad_reading(misdeed: Callable[[], Any], said: str) -> None:
    reading = await (await started(Unruly("a", misbehaves={"probe": misdeed}))).probe(CARD)
    assert not reading.healthy
    assert said in reading.reason


async def test_our_own_shortage_is_no_reading() -> None:
    asked = await started(Unruly("a", misbehaves={"probe": raises(ShortOfResources("no more files"))}))
    with pytest.raises(ShortOfResources):
        await asked.probe(CARD)


@pytest.mark.usefixtures("_hasty")
@pytest.mark.parametrize(("misdeed", "said"), MISDEEDS, ids=IDS)
async def test_a_command_that_fails_is_refused(misdeed: Callable[[], Any], said: str) -> None:
    asked = await started(Unruly(misbehaves={"command": misdeed}))
    with pytest.raises(CommandRefused, match="did not carry out" if "within" in said else said):
        await asked.command("fail", ["a"])


@pytest.mark.parametrize(
    ("returned", "found", "said"),
    [
        (None, None, "it returned nothing"),
        ("abc", None, "of the type str"),
        ([CARD, None], ["a"], "it returned nothing in place of an accelerator"),
        ([CARD, CARD], ["a"], "it returned a more than once"),
        ([replace(CARD, id="")], [], "without an id"),
    ],
)
async def test_nonsense_from_a_scan_is_told_and_what_makes_sense_is_taken(returned: object, found: list[str] | None, said: str) -> None:
    asked = await started(Unruly(misbehaves={"scan": lambda: returned}))
    if found is None:
        with pytest.raises(BackendFailed, match=said):
            await asked.scan()
        return
    accelerators, wrong = await asked.scan()
    assert [accelerator.id for accelerator in accelerators] == found
    assert said in wrong


@pytest.mark.parametrize(("node", "known"), [(-1, None), (0, 0), (3, 3), (None, None), ("x", None)])
async def test_a_negative_numa_node_is_unknown(node: Any, known: int | None) -> None:
    (accelerator,), wrong = await (await started(Unruly(misbehaves={"scan": lambda: [replace(CARD, numa_node=node)]}))).scan()
    assert accelerator.numa_node == known
    assert wrong == ""


async def test_what_a_backend_makes_of_itself_is_a_backend() -> None:
    with pytest.raises(BackendFailed, match="a value of the type int is no backend"):
        await started(Unruly(misbehaves={"make": lambda: 7}))


async def test_a_backend_is_left_only_if_it_was_entered() -> None:
    backend = Unruly(misbehaves={"enter": raises(ZeroDivisionError("oops"))})
    asked = Guarded("unruly", maker(backend), probe_timeout_s=0.01)
    with pytest.raises(BackendFailed):
        await asked.start()
    await asked.stop()
    assert not backend.left


async def test_a_backend_that_is_well_is_asked() -> None:
    backend = Unruly("a")
    asked = await started(backend)
    assert asked.prepares
    await asked.prepare([CARD])
    assert backend.prepared == ["a"]
    assert await asked.probe(CARD) == GOOD
    assert await asked.command("fail", []) == "done"
    await asked.stop()
    assert backend.left

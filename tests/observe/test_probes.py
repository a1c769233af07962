"""Whether the agent is alive, measured on real sockets."""

from pathlib import Path

import anyio
import pytest

from npu_agent.core.probing import Verdict
from npu_agent.core.state import NodeState
from npu_agent.observe import probes
from npu_agent.observe.probes import Probes
from npu_agent.rpc.serving import KnownServer
from tests.silent import silent


def measuring(*sockets: Path) -> Probes:
    return Probes(NodeState, dict, lambda: sockets)


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "ANSWER_WITHIN_S", 0.05)
    monkeypatch.setattr(probes, "FRESH_S", 0.0)


async def test_an_agent_whose_sockets_answer_lives_and_one_of_which_one_is_silent_does_not(
    short_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    server = KnownServer([])
    await server.start(path=str(short_dir / "a.sock"))
    there = [short_dir / "a.sock"]
    asked = Probes(NodeState, dict, lambda: there)
    try:
        assert await asked.live() == Verdict(True)
        with silent(short_dir / "b.sock"):
            there.append(short_dir / "b.sock")
            for _ in range(2):
                assert await asked.live() == Verdict(False, (f"{short_dir}/b.sock does not answer: there was no answer within 0.05 s",))
        there.pop()
        assert await asked.live() == Verdict(True)
    finally:
        server.close()
    assert caplog.messages == [
        f"a probe finds us not alive: {short_dir}/b.sock does not answer: there was no answer within 0.05 s",
        "our own sockets answer again",
    ]
    assert [record.event for record in caplog.records] == ["agent_not_live", "agent_live"]  # type: ignore[attr-defined]


async def test_a_socket_that_was_given_up_while_it_was_dialled_has_nothing_to_answer(short_dir: Path) -> None:
    looks = iter([[short_dir / "gone.sock"], []])
    assert await Probes(NodeState, dict, lambda: next(looks)).live() == Verdict(True)


async def test_however_many_ask_the_sockets_are_dialled_once_a_second(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probes, "FRESH_S", 1000.0)
    changes: list[int] = []
    server = KnownServer([], on_change=lambda: changes.append(server.connections))
    await server.start(path=str(short_dir / "a.sock"))
    asked = measuring(short_dir / "a.sock")
    try:
        async with anyio.create_task_group() as tasks:
            for _ in range(50):
                tasks.start_soon(asked.live)
        with anyio.fail_after(5):
            await server.all_ended()
    finally:
        server.close()
    assert changes == [1, 0]

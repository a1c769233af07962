"""One guarded task for each key of what is wanted."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import anyio
import pytest

from npu_agent.flow import tending
from npu_agent.flow.current import Current
from npu_agent.flow.tending import Tending


class Work:
    """Tasks that say when they start and end; what is in `fails` is raised at the start of a key's task, or returned from if None."""

    def __init__(self, **wanted: int) -> None:
        self.wanted: Current[Mapping[str, int]] = Current(wanted)
        self.said: list[str] = []
        self.fails: dict[str, Exception | None] = {}
        self.failures: list[tuple[str, str]] = []
        self.rang = anyio.Event()

    async def task(self, key: str, value: int) -> None:
        self._say(f"+{key}{value}")
        try:
            if key in self.fails:
                error = self.fails[key]
                if error is None:
                    return
                raise error
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            self._say(f"-{key}{value}")

    def failed(self, key: str, error: Exception | None) -> None:
        self.failures.append((key, str(error)))
        if isinstance(error, KeyError):
            raise error

    def _say(self, text: str) -> None:
        self.said.append(text)
        self.rang.set()
        self.rang = anyio.Event()

    async def until(self, *said: str) -> None:
        with anyio.fail_after(5):
            while self.said != list(said):
                await self.rang.wait()


@asynccontextmanager
async def tended(work: Work) -> AsyncIterator[Work]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Tending(work.wanted, work.task, work.failed).run)
        yield work
        tasks.cancel_scope.cancel()


async def test_each_key_has_a_task_and_all_have_ended_when_the_tending_has() -> None:
    async with tended(Work(a=1, b=1)) as work:
        await work.until("+a1", "+b1")
    assert sorted(work.said[2:]) == ["-a1", "-b1"]


async def test_keys_come_and_go_and_the_others_stay() -> None:
    async with tended(Work(a=1, b=1)) as work:
        await work.until("+a1", "+b1")
        work.wanted.set({"b": 1, "c": 1})
        await work.until("+a1", "+b1", "-a1", "+c1")


async def test_a_key_whose_value_changes_is_ended_before_it_is_started_again() -> None:
    async with tended(Work(a=1)) as work:
        await work.until("+a1")
        work.wanted.set({"a": 2})
        await work.until("+a1", "-a1", "+a2")


async def test_what_leaves_has_ended_before_anything_new_starts() -> None:
    async with tended(Work(a=1, b=1)) as work:
        await work.until("+a1", "+b1")
        work.wanted.set({"c": 1, "d": 1})
        await work.until("+a1", "+b1", "-a1", "-b1", "+c1", "+d1")


@pytest.mark.parametrize("error", [ValueError("oops"), None], ids=["raises", "returns"])
async def test_a_task_that_fails_is_told_and_started_again_and_touches_no_other(
    error: Exception | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tending, "FIRST_AGAIN_S", 0.01)
    work = Work(a=1, b=1)
    work.fails["a"] = error
    async with tended(work):
        await work.until("+a1", "+b1", "-a1")
        del work.fails["a"]
        with anyio.fail_after(5):
            while work.said[-1] != "+a1":
                await work.rang.wait()
    assert work.failures == [("a", str(error))]


async def test_a_key_that_waits_to_be_started_again_can_go() -> None:
    work = Work(a=1)
    work.fails["a"] = ValueError("oops")
    async with tended(work):
        await work.until("+a1", "-a1")
        work.wanted.set({})
        await anyio.wait_all_tasks_blocked()
        work.fails.clear()
        work.wanted.set({"a": 1})
        await work.until("+a1", "-a1", "+a1")


async def test_what_the_teller_of_failures_raises_ends_all() -> None:
    work = Work(a=1, b=1)
    work.fails["a"] = KeyError("the end")
    with pytest.RaisesGroup(KeyError):
        await Tending(work.wanted, work.task, work.failed).run()
    assert "-b1" in work.said

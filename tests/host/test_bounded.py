"""Reads that hang: who waits, for how long, and what they leave behind."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

import anyio
import pytest

from npu_agent.host import bounded
from npu_agent.host.bounded import STUCK_AFTER_S, Readers, ReadHangs
from npu_agent.host.errors import SHORTAGES, ShortOfResources

LONG_S = 30.0
SHORT_S = 0.05


@pytest.fixture
async def readers() -> AsyncIterator[Readers]:
    made = Readers()
    yield made
    made.close()


@pytest.fixture
def stuck() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


def card_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "card reader"}


async def end(threads: set[threading.Thread]) -> None:
    """Wait for the threads, which must end by themselves; the loop runs on meanwhile."""
    for thread in threads:
        await anyio.to_thread.run_sync(thread.join, 5)
        assert not thread.is_alive()


async def swallow_hang(readers: Readers, key: str, function: Callable[[], object], timeout_s: float = LONG_S) -> None:
    with pytest.raises(ReadHangs):
        await readers.read(key, function, timeout_s=timeout_s)


async def test_a_read_gives_what_the_function_returns(readers: Readers) -> None:
    assert await readers.read("card", lambda: 42, timeout_s=LONG_S) == 42


async def test_what_the_function_raises_is_raised_to_its_caller(readers: Readers) -> None:
    def broken() -> None:
        raise OSError(5, "Input/output error")

    with pytest.raises(OSError, match="Input/output error"):
        await readers.read("card", broken, timeout_s=LONG_S)
    assert await readers.read("card", lambda: "fine again", timeout_s=LONG_S) == "fine again"


async def test_a_timeout_of_the_function_itself_is_not_a_read_that_hangs(readers: Readers) -> None:
    def gives_up() -> None:
        raise TimeoutError("the driver gave up")

    with pytest.raises(TimeoutError, match="the driver gave up") as caught:
        await readers.read("card", gives_up, timeout_s=LONG_S)
    assert not isinstance(caught.value, ReadHangs)


async def test_a_read_that_hangs_is_left_after_its_time(readers: Readers, stuck: threading.Event) -> None:
    with pytest.raises(ReadHangs, match=r"a read has not come back within 0\.05 s"):
        await readers.read("card", stuck.wait, timeout_s=SHORT_S)


async def test_the_next_read_of_a_card_that_hangs_fails_at_once_and_starts_nothing(readers: Readers, stuck: threading.Event) -> None:
    with pytest.raises(ReadHangs):
        await readers.read("card", stuck.wait, timeout_s=SHORT_S)
    started = []
    for _ in range(100):
        with pytest.raises(ReadHangs):
            await readers.read("card", lambda: started.append(1), timeout_s=LONG_S)
    assert not started


async def test_a_card_that_hung_is_read_again_once_its_read_came_back(readers: Readers, stuck: threading.Event) -> None:
    with pytest.raises(ReadHangs):
        await readers.read("card", stuck.wait, timeout_s=SHORT_S)
    stuck.set()
    with anyio.fail_after(5):
        while True:
            try:
                assert await readers.read("card", lambda: "back", timeout_s=LONG_S) == "back"
                return
            except ReadHangs:
                await anyio.lowlevel.checkpoint()


async def test_a_card_that_hangs_delays_no_other(readers: Readers, stuck: threading.Event) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(swallow_hang, readers, "dying", stuck.wait)
        with anyio.fail_after(LONG_S / 3):
            async with anyio.create_task_group() as others:
                for index in range(8):
                    others.start_soon(partial(readers.read, f"card {index}", lambda: None, timeout_s=LONG_S))
        tasks.cancel_scope.cancel()


async def test_what_came_back_before_a_read_that_hangs_is_not_kept_waiting(readers: Readers, stuck: threading.Event) -> None:
    quick = anyio.Event()

    async def read() -> None:
        await readers.read("quick", lambda: None, timeout_s=LONG_S)
        quick.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        tasks.start_soon(swallow_hang, readers, "dying", stuck.wait)
        with anyio.fail_after(LONG_S / 3):
            await quick.wait()
        tasks.cancel_scope.cancel()


async def test_two_reads_of_one_card_never_run_at_once(readers: Readers) -> None:
    inside, most = 0, 0

    def look() -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.002)
        inside -= 1

    async with anyio.create_task_group() as tasks:
        for _ in range(10):
            tasks.start_soon(lambda: readers.read("card", look, timeout_s=LONG_S))
    assert most == 1


async def test_a_second_read_that_waits_for_the_first_is_bounded_too(readers: Readers, stuck: threading.Event) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(swallow_hang, readers, "card", stuck.wait)
        await anyio.lowlevel.checkpoint()
        with pytest.raises(ReadHangs):
            await readers.read("card", lambda: None, timeout_s=SHORT_S)
        # Now it is known to hang, also to those with more patience.
        began = time.monotonic()
        with pytest.raises(ReadHangs):
            await readers.read("card", lambda: None, timeout_s=LONG_S)
        assert time.monotonic() - began < 1
        tasks.cancel_scope.cancel()


async def test_a_caller_that_is_cancelled_leaves_the_card_readable(readers: Readers, stuck: threading.Event) -> None:
    with anyio.move_on_after(SHORT_S):
        await readers.read("card", stuck.wait, timeout_s=LONG_S)
    stuck.set()
    assert await readers.read("card", lambda: "next", timeout_s=LONG_S) == "next"


async def test_threads_grow_with_cards_that_hang_and_not_with_how_often_they_are_asked(readers: Readers, stuck: threading.Event) -> None:
    before = card_threads()
    hanging = [f"dying {index}" for index in range(3)]
    for _ in range(20):
        async with anyio.create_task_group() as tasks:
            for key in hanging:
                tasks.start_soon(swallow_hang, readers, key, stuck.wait, SHORT_S)
            for index in range(8):
                tasks.start_soon(partial(readers.read, f"card {index}", lambda: None, timeout_s=LONG_S))
    assert len(card_threads() - before) <= len(hanging) + 1


async def read_all(readers: Readers, keys: list[str]) -> dict[str, str]:
    """What becomes of a read of each."""
    told: dict[str, str] = {}

    async def read(key: str) -> None:
        try:
            told[key] = await readers.read(key, lambda: "read", timeout_s=LONG_S)
        except ShortOfResources as shortage:
            told[key] = str(shortage)

    async with anyio.create_task_group() as tasks:
        for key in keys:
            tasks.start_soon(read, key)
    return told


class Threads:
    """How many threads may be started still, as a full cgroup says it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left = 0
        start = threading.Thread.start

        def limited(thread: threading.Thread) -> None:
            if thread.name == "card reader":
                if not self.left:
                    raise RuntimeError("can't start new thread")
                self.left -= 1
            start(thread)

        monkeypatch.setattr(threading.Thread, "start", limited)


async def test_a_thread_that_cannot_be_started_is_a_shortage_and_no_fault_of_the_card(
    readers: Readers, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(monkeypatch)
    for _ in range(3):
        with pytest.raises(ShortOfResources, match="may not start more threads; raise the pids limit"):
            await readers.read("card", lambda: "read", timeout_s=LONG_S)
    threads.left = 1
    assert await readers.read("card", lambda: "read", timeout_s=LONG_S) == "read"


async def test_cards_behind_one_that_hangs_are_read_again_as_soon_as_threads_can_be_started(
    readers: Readers, stuck: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = Threads(monkeypatch)
    threads.left = 1
    others = ["b", "c", "d"]
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(swallow_hang, readers, "a", stuck.wait, SHORT_S)
        await anyio.lowlevel.checkpoint()
        for _ in range(3):
            told = await read_all(readers, others)
            assert all("may not start more threads" in text for text in told.values())
        threads.left = 1
        with anyio.fail_after(LONG_S / 3):
            assert await read_all(readers, others) == dict.fromkeys(others, "read")


async def test_a_read_that_was_given_up_for_want_of_a_thread_is_not_made_later(
    readers: Readers, stuck: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    Threads(monkeypatch).left = 1
    made: list[str] = []

    def make(name: str) -> str | None:
        made.append(name)
        return None

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: readers.read("a", lambda: stuck.wait() and make("a"), timeout_s=LONG_S))
        await anyio.lowlevel.checkpoint()
        with pytest.raises(ShortOfResources):
            await readers.read("b", lambda: make("b"), timeout_s=LONG_S)
        stuck.set()
    assert await readers.read("c", lambda: make("c"), timeout_s=LONG_S) is None
    assert made == ["a", "c"]


@pytest.mark.parametrize("number", sorted(SHORTAGES))
async def test_a_limit_that_a_read_meets_is_a_shortage(readers: Readers, number: int) -> None:
    def short() -> None:
        raise OSError(number, "short")

    with pytest.raises(ShortOfResources):
        await readers.read("card", short, timeout_s=LONG_S)


async def test_the_time_that_a_read_waits_for_its_turn_is_not_its_own(readers: Readers) -> None:
    patience_s = 4 * STUCK_AFTER_S
    reads_s = STUCK_AFTER_S / 4
    keys = [f"entry {index}" for index in range(40)]
    done: list[str] = []

    async def read(key: str) -> None:
        await readers.read(key, lambda: time.sleep(reads_s), timeout_s=patience_s)
        done.append(key)

    async with anyio.create_task_group() as tasks:
        for key in keys:
            tasks.start_soon(read, key)
    assert len(done) == len(keys)


async def test_a_long_queue_of_quick_reads_takes_no_more_threads(readers: Readers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded, "STUCK_AFTER_S", 0.2)  # much longer than a read and much shorter than the queue, on a busy machine too
    before = card_threads()
    async with anyio.create_task_group() as tasks:
        for index in range(300):
            tasks.start_soon(partial(readers.read, f"card {index}", lambda: time.sleep(0.002), timeout_s=LONG_S))
    assert len(card_threads() - before) <= 2


async def test_close_ends_the_threads_also_those_that_hang_once_they_come_back(stuck: threading.Event) -> None:
    readers = Readers()
    before = card_threads()
    with pytest.raises(ReadHangs):
        await readers.read("dying", stuck.wait, timeout_s=SHORT_S)
    await readers.read("well", lambda: None, timeout_s=LONG_S)
    threads = card_threads() - before
    readers.close()
    stuck.set()
    assert threads
    await end(threads)


async def test_a_read_that_comes_back_after_the_loop_is_gone_ends_its_thread() -> None:
    gate = threading.Event()
    before = card_threads()

    async def leave_it() -> None:
        with pytest.raises(ReadHangs):
            await Readers().read("dying", gate.wait, timeout_s=SHORT_S)

    await anyio.to_thread.run_sync(anyio.run, leave_it)
    threads = card_threads() - before
    gate.set()
    assert threads
    await end(threads)

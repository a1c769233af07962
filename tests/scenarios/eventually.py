"""Waiting for what another process will say, with a bound and without guessing how long."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio

T = TypeVar("T")


async def eventually(look: Callable[[], Awaitable[T]], until: Callable[[T], bool], *, within_s: float = 10.0) -> T:
    """Return the first value of `look()` for which `until` holds, else fail with the last one seen.

    It looks every 20 ms, because other processes offer no event to await.
    """
    deadline = time.monotonic() + within_s
    while True:
        seen = await look()
        if until(seen):
            return seen
        if time.monotonic() > deadline:
            raise AssertionError(f"after {within_s} s it is still {seen!r}")
        await anyio.sleep(0.02)

"""A value that changes over time and that others follow: how pools reach their consumers."""

from collections.abc import AsyncIterator
from typing import Generic, TypeVar

import anyio

T = TypeVar("T")


class Current(Generic[T]):
    """The newest value, and a way to wait for the next one.

    A follower that is slow sees the newest value and not each one between, which is what level-triggered consumers want. Setting an
    equal value wakes nobody.
    """

    def __init__(self, value: T) -> None:
        self._value = value
        self._changed = anyio.Event()

    @property
    def value(self) -> T:
        return self._value

    def set(self, value: T) -> None:
        if value == self._value:
            return
        self._value = value
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    async def changed(self) -> None:
        """Return when a value other than the present one is set."""
        await self._changed.wait()

    async def follow(self) -> AsyncIterator[T]:
        """Yield the present value, then the newest one after each change, without end."""
        while True:
            changed = self._changed
            yield self._value
            await changed.wait()

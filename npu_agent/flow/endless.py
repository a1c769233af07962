"""Tasks that run for as long as the agent does."""

from collections.abc import Awaitable, Callable
from typing import Any


class TaskEnded(Exception):
    """A task that runs for as long as the agent ended by itself: a fault of ours, which ends the agent rather than half of its work."""


async def without_end(task: Callable[..., Awaitable[None]], *arguments: Any) -> None:
    """Run a task that is not to return, until cancelled. Raises TaskEnded where it does, and what it raises."""
    await task(*arguments)
    raise TaskEnded(f"{getattr(task, '__qualname__', task)} ended by itself")

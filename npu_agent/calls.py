"""Calling others by grpclib without being cancelled by it."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def call(request: Coroutine[Any, Any, T]) -> T:
    """Return what a grpclib call returns, made in a task of its own.

    grpclib ends a call whose connection broke or whose deadline passed by cancelling the task that waits for it, and never takes the
    cancellation back (`asyncio.Task.uncancel`). In our own task every cancel scope around the call would from then on take it for
    a cancellation from outside, and the agent would end without a word.
    """
    return await asyncio.ensure_future(request)

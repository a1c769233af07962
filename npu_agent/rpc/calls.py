"""Calling others by grpclib without being cancelled by it, and with one error for a connection that broke."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import h2.exceptions
from grpclib.exceptions import StreamTerminatedError

from npu_agent.rpc.requests import whole

T = TypeVar("T")


async def call(request: Coroutine[Any, Any, T]) -> T:
    """Return what a grpclib call returns, made in a task of its own.

    grpclib ends a call whose connection broke or whose deadline passed by cancelling the task that waits for it, and never takes the
    cancellation back (`asyncio.Task.uncancel`). In our own task every cancel scope around the call would from then on take it for
    a cancellation from outside, and the agent would end without a word.

    Raises StreamTerminatedError for a connection that broke, at whatever moment it did, and GRPCError for an answer that is too much to
    be decoded, besides what grpclib documents.
    """
    try:
        return await whole(await asyncio.ensure_future(request))
    except AttributeError as error:
        # The connection was lost between connecting and the request, and grpclib uses the transport that it no longer has.
        if error.name != "_transport":
            raise
        raise StreamTerminatedError("Connection lost") from error
    except h2.exceptions.ProtocolError as error:
        raise StreamTerminatedError(f"Connection lost ({error})") from error

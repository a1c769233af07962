"""Requests that may be large: read into messages beside the loop, since one of some mebibytes takes seconds of it."""

import asyncio
from typing import Any, Generic, TypeVar

from grpclib.const import Status
from grpclib.encoding.proto import ProtoCodec
from grpclib.exceptions import GRPCError

from npu_agent.core.text import printable

SMALL_BYTES = 32 * 1024
"""What is decoded in the loop, in about 10 ms at the worst."""

MOST_OF_A_STATUS = 1000
"""Characters of the text of a status. The coding of a header takes time that grows with the square of it."""

M = TypeVar("M")


class Large(Generic[M]):
    """A request that has not been decoded yet."""

    def __init__(self, data: bytes, kind: type[M]) -> None:
        self.data = data
        self.kind = kind


class RequestCodec(ProtoCodec):
    """Decodes small requests, and leaves large ones to `whole`."""

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return the message, or what `whole` makes of it."""
        return super().decode(data, message_type) if len(data) <= SMALL_BYTES else Large(data, message_type)


async def whole(request: M) -> M:
    """Return a request as the message that it is. Raises GRPCError for one that cannot be read."""
    if not isinstance(request, Large):
        return request
    try:
        return await asyncio.to_thread(request.kind.FromString, request.data)
    except Exception as error:  # what the decoder makes of nonsense is not for us to list
        raise refusal(Status.INVALID_ARGUMENT, f"the request cannot be read: {type(error).__name__}") from error


def refusal(status: Status, text: str) -> GRPCError:
    """Return the error that answers a call, with a text within bounds."""
    return GRPCError(status, printable(text, MOST_OF_A_STATUS))

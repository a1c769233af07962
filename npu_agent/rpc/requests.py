"""Messages that may be large: counted and decoded beside the loop, since one of some mebibytes takes seconds of it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Generic, TypeVar

from grpclib.const import Status
from grpclib.encoding.proto import ProtoCodec
from grpclib.exceptions import GRPCError

from npu_agent.core.text import printable
from npu_agent.rpc.fields import has_at_most

SMALL_BYTES = 4 * 1024
"""What is decoded in the loop, in about 10 ms at the worst: two bytes can be a message in it."""

MOST_FIELDS = 65_536
"""Fields of one message. kubelet asks for a preference among all devices of a pool, and never for more."""

MOST_OF_A_STATUS = 1000
"""Characters of the text of a status. The coding of a header takes time that grows with the square of it."""

M = TypeVar("M")

_decoder = ThreadPoolExecutor(1, "decode")
"""One for all: what is decoded takes many times its bytes, and each decoder takes the processor from the loop."""


class Large(Generic[M]):
    """A message that has not been decoded yet, and may have at most `most_fields`."""

    def __init__(self, data: bytes, kind: type[M], most_fields: int) -> None:
        self.data = data
        self.kind = kind
        self.most_fields = most_fields

    def decoded(self) -> M | None:
        """Return the message, or None where it has too many fields."""
        message: M | None = None
        if has_at_most(self.data, self.kind, self.most_fields):
            message = self.kind.FromString(self.data)  # type: ignore[attr-defined]
        return message


class BoundedCodec(ProtoCodec):
    """Decodes small messages, and leaves large ones to `whole`."""

    def __init__(self, most_fields: int = MOST_FIELDS) -> None:
        self._most_fields = most_fields

    def decode(self, data: bytes, message_type: Any) -> Any:
        """Return the message, or what `whole` makes of it."""
        return super().decode(data, message_type) if len(data) <= SMALL_BYTES else Large(data, message_type, self._most_fields)


async def whole(received: M) -> M:
    """Return a request or an answer as the message that it is. Raises GRPCError for one that cannot be read or has too many fields."""
    if not isinstance(received, Large):
        return received
    try:
        message: M | None = await asyncio.get_running_loop().run_in_executor(_decoder, received.decoded)
    except Exception as error:  # what the decoder makes of nonsense is not for us to list
        raise refusal(Status.INVALID_ARGUMENT, f"the message cannot be read: {type(error).__name__}") from error
    if message is None:
        raise refusal(Status.INVALID_ARGUMENT, f"the message has more than {received.most_fields} fields, or many that nobody knows")
    return message


def refusal(status: Status, text: str) -> GRPCError:
    """Return the error that answers a call, with a text within bounds."""
    return GRPCError(status, printable(text, MOST_OF_A_STATUS))

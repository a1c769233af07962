import time

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from npu_agent.api.v1beta1 import AllocateRequest, ContainerAllocateRequest
from npu_agent.deviceplugin.lists import field
from npu_agent.rpc.requests import MOST_FIELDS, SMALL_BYTES, BoundedCodec, Large, whole

MIB = 1024 * 1024


def received(data: bytes, most_fields: int = MOST_FIELDS) -> AllocateRequest:
    message: AllocateRequest = BoundedCodec(most_fields).decode(data, AllocateRequest)
    return message


async def test_a_small_request_and_a_large_one_are_read_alike() -> None:
    for ids in (["a", "b"], [f"82540B87-1055-48C6-AAB1-{n:012X}" for n in range(10_000)]):
        request = AllocateRequest(container_requests=[ContainerAllocateRequest(device_ids=ids)])
        assert isinstance(received(bytes(request)), Large) == (len(bytes(request)) > SMALL_BYTES)
        assert await whole(received(bytes(request))) == request


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"\x0a\x00" * (2 * MIB), id="containers"),
        pytest.param(b"\x0a\xfe\xff\xff\x01" + b"\x0a\x00" * (2 * MIB - 1), id="devices"),
        pytest.param(b"\x12\x3e" + b"x" * 62 + b"\x12\x00" * (2 * MIB - 32), id="unknown"),
        pytest.param((b"\x7a\x7e" + b"x" * 126) * (MIB // 32), id="unknown and long"),
    ],
)
async def test_a_request_of_millions_of_fields_is_refused_before_it_is_decoded(data: bytes) -> None:
    began = time.process_time()
    with pytest.raises(GRPCError, match="fields") as refused:
        await whole(received(data))
    assert refused.value.status is Status.INVALID_ARGUMENT
    assert time.process_time() - began < 1.0  # it would take more than ten


async def test_a_large_request_that_is_no_message_is_refused() -> None:
    with pytest.raises(GRPCError, match="cannot be read"):
        await whole(received(field(1, field(1, b"\xff" * SMALL_BYTES))))

"""Whatever bytes arrive at our socket are answered, and the next call is too."""

import random
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError

from npu_agent.api.v1beta1 import (
    AllocateRequest,
    ContainerAllocateRequest,
    ContainerPreferredAllocationRequest,
    Empty,
    PreferredAllocationRequest,
    PreStartContainerRequest,
)
from tests.deviceplugin.served import serving

ROUNDS = 60

MESSAGES = {
    "GetDevicePluginOptions": b"",
    "GetPreferredAllocation": bytes(
        PreferredAllocationRequest(
            container_requests=[ContainerPreferredAllocationRequest(available_device_ids=["a", "b"], allocation_size=1)]
        )
    ),
    "Allocate": bytes(AllocateRequest(container_requests=[ContainerAllocateRequest(device_ids=["a"])])),
    "PreStartContainer": bytes(PreStartContainerRequest(device_ids=["a"])),
}


class Raw(CodecBase):
    """Messages that are bytes already."""

    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> Any:
        return message

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


def noises(message: bytes, seed: int) -> Iterator[bytes]:
    """Random bytes, and the message with a few of its bytes changed, missing or added."""
    chance = random.Random(seed)
    for _ in range(ROUNDS):
        changed = bytearray(message if chance.random() < 0.7 else chance.randbytes(chance.randrange(40)))
        for _ in range(chance.randrange(1, 4)):
            place = chance.randrange(len(changed) + 1)
            changed[place : place + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        yield bytes(changed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", MESSAGES)
async def test_noise_is_answered_and_the_next_call_too(method: str, seed: int, tmp_path: Path) -> None:
    async with serving(tmp_path) as (plugin, kubelet):
        channel = Channel(path=str(plugin.socket.path), codec=Raw())
        call: UnaryUnaryMethod[bytes, bytes] = UnaryUnaryMethod(channel, f"/v1beta1.DevicePlugin/{method}", bytes, bytes)
        for noise in noises(MESSAGES[method], seed):
            with anyio.fail_after(5), suppress(GRPCError):
                await call(noise)
        await call(MESSAGES[method])
        assert (await kubelet.get_device_plugin_options(Empty())).get_preferred_allocation_available
        channel.close()

"""gRPC's health service on the agent's own socket, asked over the wire."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from grpclib.client import Channel
from grpclib.const import Status as Code
from grpclib.exceptions import GRPCError

from npu_agent.api.grpc.health.v1 import (
    HealthBase,
    HealthCheckRequest,
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
    HealthListRequest,
    HealthStub,
)
from npu_agent.control import health
from npu_agent.control.client import SOCKET_NAME
from npu_agent.control.service import HEALTH_METHODS, serving
from npu_agent.core.probing import Verdict
from tests.control.test_service import Counting

NPU = "furiosa.ai/npu"
SERVING, NOT_SERVING = HealthCheckResponseServingStatus.SERVING, HealthCheckResponseServingStatus.NOT_SERVING
SERVICE_UNKNOWN = HealthCheckResponseServingStatus.SERVICE_UNKNOWN


class Standing:
    """Probes whose answers a test changes."""

    def __init__(self) -> None:
        self.is_live = self.is_ready = True
        self.there: dict[str, bool] = {NPU: True}

    async def live(self) -> Verdict:
        return Verdict(self.is_live)

    def ready(self) -> Verdict:
        return Verdict(self.is_ready)

    def resources(self) -> Mapping[str, Verdict]:
        return {name: Verdict(passed) for name, passed in self.there.items()}


class Agent(Counting):
    def __init__(self) -> None:
        super().__init__()
        self.probes: Standing = Standing()  # type: ignore[assignment]

    def change(self) -> None:
        self.changes.set(self.changes.value + 1)


@asynccontextmanager
async def asked(agent: Agent, folder: Path) -> AsyncIterator[HealthStub]:
    async with serving(agent, folder):
        channel = Channel(path=str(folder / SOCKET_NAME))
        try:
            yield HealthStub(channel)
        finally:
            channel.close()


def test_the_methods_are_those_of_the_protocol() -> None:
    assert set(HealthBase().__mapping__()) == set(HEALTH_METHODS)


@pytest.mark.parametrize("service", ["", "ready", NPU])
async def test_each_service_stands_as_its_probe_does(short_dir: Path, service: str) -> None:
    agent = Agent()
    async with asked(agent, short_dir) as stub:
        assert (await stub.check(HealthCheckRequest(service=service))).status is SERVING
        agent.probes.is_live = agent.probes.is_ready = agent.probes.there[NPU] = False
        assert (await stub.check(HealthCheckRequest(service=service))).status is NOT_SERVING


async def test_an_unknown_service_is_not_found_and_those_that_there_are_are_named(short_dir: Path) -> None:
    async with asked(Agent(), short_dir) as stub:
        with pytest.raises(GRPCError) as refused:
            await stub.check(HealthCheckRequest(service="furiosa.ai/\x1bnone"))
    assert refused.value.status is Code.NOT_FOUND
    assert refused.value.message == r"furiosa.ai/\x1bnone is not served here; there are '', 'ready', 'furiosa.ai/npu'"


async def test_all_services_are_listed_unless_they_are_more_than_the_protocol_takes(short_dir: Path) -> None:
    agent = Agent()
    agent.probes.is_ready = False
    async with asked(agent, short_dir) as stub:
        statuses = (await stub.list(HealthListRequest())).statuses
        assert {name: response.status for name, response in statuses.items()} == {"": SERVING, "ready": NOT_SERVING, NPU: SERVING}
        agent.probes.there = {f"furiosa.ai/{number}": True for number in range(99)}
        with pytest.raises(GRPCError) as refused:
            await stub.list(HealthListRequest())
    assert refused.value.status is Code.RESOURCE_EXHAUSTED


async def test_whoever_watches_is_told_at_once_and_after_each_change_and_of_nothing_else(short_dir: Path) -> None:
    agent = Agent()
    agent.probes.there = {}
    async with asked(agent, short_dir) as stub:
        with anyio.fail_after(5):
            watched = stub.watch(HealthCheckRequest(service=NPU))
            assert (await watched.__anext__()).status is SERVICE_UNKNOWN
            agent.change()  # of something else
            agent.probes.there = {NPU: False}
            agent.change()
            assert (await watched.__anext__()).status is NOT_SERVING
            agent.probes.there = {NPU: True}
            agent.change()
            assert (await watched.__anext__()).status is SERVING


async def test_whoever_watches_the_agent_is_told_what_only_a_measurement_says(short_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "MEASURE_AGAIN_S", 0.01)
    agent = Agent()
    async with asked(agent, short_dir) as stub:
        with anyio.fail_after(5):
            watched = stub.watch(HealthCheckRequest())
            assert await watched.__anext__() == HealthCheckResponse(status=SERVING)
            agent.probes.is_live = False
            assert await watched.__anext__() == HealthCheckResponse(status=NOT_SERVING)

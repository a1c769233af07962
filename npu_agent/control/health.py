"""gRPC's health checking protocol on the agent's own socket: the same answers as over HTTP, for whoever speaks gRPC."""

from collections.abc import AsyncIterator

import anyio
from grpclib.const import Status as Code

from npu_agent.api.grpc.health.v1 import (
    HealthBase,
    HealthCheckRequest,
    HealthCheckResponse,
    HealthCheckResponseServingStatus,
    HealthListRequest,
    HealthListResponse,
)
from npu_agent.control.service import Probes
from npu_agent.core.probing import Verdict
from npu_agent.core.text import printable
from npu_agent.flow.current import Current
from npu_agent.rpc.requests import refusal, whole

WHOLE_AGENT = ""
"""The service of which the protocol says that it stands for all of a server: whether the agent is alive."""

READY = "ready"

MOST_SERVICES = 100
"""Services in one answer, by the protocol."""

MEASURE_AGAIN_S = 2.0
"""Seconds between two looks for those who watch whether the agent is alive: only a measurement says that it is not."""


class HealthService(HealthBase):
    """Says how the agent ("") and its readiness ("ready") stand, and each resource by its name."""

    def __init__(self, probes: Probes, changes: Current[int]) -> None:
        self._probes = probes
        self._changes = changes

    async def check(self, message: HealthCheckRequest) -> HealthCheckResponse:
        """Say how a service stands now."""
        service = (await whole(message)).service
        verdict = await self._verdict(service)
        if verdict is None:
            raise refusal(Code.NOT_FOUND, f"{printable(service)} is not served here; there are {', '.join(map(repr, self._services()))}")
        return _response(verdict)

    async def list(self, message: HealthListRequest) -> HealthListResponse:
        """Say how all services stand now."""
        services = self._services()
        if len(services) > MOST_SERVICES:
            raise refusal(Code.RESOURCE_EXHAUSTED, f"there are {len(services)} services, and an answer has at most {MOST_SERVICES}")
        statuses = {service: _response(await self._verdict(service)) for service in services}
        return HealthListResponse(statuses=statuses)

    async def watch(self, message: HealthCheckRequest) -> AsyncIterator[HealthCheckResponse]:
        """Say how a service stands, at once and after each change."""
        service = (await whole(message)).service
        last: HealthCheckResponse | None = None
        while True:
            seen = self._changes.value
            response = _response(await self._verdict(service))
            if response != last:
                last = response
                yield response
            with anyio.move_on_after(float("inf") if service != WHOLE_AGENT else MEASURE_AGAIN_S):
                while self._changes.value == seen:
                    await self._changes.changed()

    def _services(self) -> tuple[str, ...]:
        return (WHOLE_AGENT, READY, *self._probes.resources())

    async def _verdict(self, service: str) -> Verdict | None:
        if service == WHOLE_AGENT:
            return await self._probes.live()
        if service == READY:
            return self._probes.ready()
        return self._probes.resources().get(service)


def _response(verdict: Verdict | None) -> HealthCheckResponse:
    status = HealthCheckResponseServingStatus
    if verdict is None:
        return HealthCheckResponse(status=status.SERVICE_UNKNOWN)
    return HealthCheckResponse(status=status.SERVING if verdict.passed else status.NOT_SERVING)

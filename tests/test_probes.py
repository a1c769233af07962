"""Probes on an agent process: what it answers over HTTP while kubelet comes and goes, and what an agent without HTTP does not pay."""

import asyncio
import http.client
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from grpclib.client import Channel

from npu_agent.api.grpc.health.v1 import HealthCheckRequest, HealthCheckResponseServingStatus, HealthListRequest, HealthStub
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.cli.running import npu_agent
from tests.program import agent_pid, environment
from tests.scenarios.agent import Agent
from tests.scenarios.eventually import eventually
from tests.silent import silent
from tests.simulator.own_task import in_own_task
from tests.simulator.simulated_node import SimulatedNode

SERVING = re.compile(r"over HTTP on 127\.0\.0\.1:(\d+)")
NPU = "furiosa.ai/npu"
WITHIN_S = 20.0


class ProbedAgent(Agent):
    """`npu-agent serve --http ADDRESS` with fake cards."""

    def __init__(self, node: SimulatedNode, address: str = "127.0.0.1:0", **options: Any) -> None:
        super().__init__(node, **options)
        self._address = address

    async def __aenter__(self) -> "ProbedAgent":
        await super().__aenter__()
        return self

    async def start(self, *options: str) -> None:
        await super().start("--http", self._address, *options)

    async def port(self) -> int:
        """Return the port on which it serves."""

        async def said() -> str:
            return self.said()

        ports = SERVING.findall(await eventually(said, lambda text: bool(SERVING.search(text)), within_s=WITHIN_S))
        return int(ports[-1])

    async def get(self, path: str) -> tuple[int, str]:
        return await asyncio.to_thread(get, await self.port(), path)

    async def until(self, path: str, status: int, text: str = "") -> str:
        """Return what a page says once it has that status and text."""

        async def look() -> tuple[int, str]:
            return await self.get(path)

        _, seen = await eventually(look, lambda answer: answer[0] == status and text in answer[1], within_s=WITHIN_S)
        return seen


def get(port: int, path: str, *, timeout_s: float = 10.0) -> tuple[int, str]:
    """Return the status and the text of a page, as a probe of kubelet gets it. Raises TimeoutError."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"User-Agent": "kube-probe/1.36", "Connection": "close"})
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


@pytest.fixture
async def node(short_dir: Path) -> AsyncIterator[SimulatedNode]:
    (short_dir / "work").mkdir()
    async with in_own_task(SimulatedKubelet(short_dir / "kubelet", start_retry_s=0.05, seed=1)) as kubelet:
        await kubelet.start()
        yield SimulatedNode(kubelet, short_dir / "work")


async def test_readyz_follows_kubelet_and_healthz_does_not_care(node: SimulatedNode) -> None:
    async with ProbedAgent(node) as agent:
        assert await agent.until("/readyz", 200) == "ok\nfuriosa.ai/npu (2 devices) is registered\n"
        assert await agent.get("/healthz") == (200, "ok\n")
        await node.stop_kubelet()
        text = await agent.until("/readyz", 503, "kubelet is stopped or starting")
        assert text.startswith("not ready\nfuriosa.ai/npu (2 devices) is not registered: nobody answers on ")
        assert await agent.get("/healthz") == (200, "ok\n")
        await node.start_kubelet()
        await agent.until("/readyz", 200)
        await agent.stop()


async def test_a_node_without_accelerators_is_ready(node: SimulatedNode) -> None:
    async with ProbedAgent(node, cards=0) as agent:
        assert await agent.until("/readyz", 200) == "ok\nno resource has devices on this node\n"


async def test_sick_cards_change_nothing_for_a_probe(node: SimulatedNode) -> None:
    async with ProbedAgent(node, cards=1) as agent:
        await agent.until("/readyz", 200)
        await agent.fake("fail", "fake-0")
        await agent.says("fake-0 (rngd npu0) is unhealthy")
        assert (await agent.get("/readyz"))[0] == (await agent.get("/healthz"))[0] == 200


async def test_grpc_s_health_service_says_the_same(node: SimulatedNode) -> None:
    """On an agent without HTTP."""
    serving, not_serving = HealthCheckResponseServingStatus.SERVING, HealthCheckResponseServingStatus.NOT_SERVING
    async with Agent(node) as agent:
        await agent.says("registered with kubelet")
        channel = Channel(path=str(agent.runtime_dir / "agent.sock"))
        stub = HealthStub(channel)

        async def statuses() -> dict[str, HealthCheckResponseServingStatus]:
            return {name: answer.status for name, answer in (await stub.list(HealthListRequest())).statuses.items()}

        try:
            await eventually(statuses, lambda seen: seen == {"": serving, "ready": serving, NPU: serving}, within_s=WITHIN_S)
            watched = stub.watch(HealthCheckRequest(service=NPU))
            with anyio.fail_after(WITHIN_S):
                assert (await watched.__anext__()).status is serving
                await node.stop_kubelet()
                assert (await watched.__anext__()).status is not_serving
            assert await statuses() == {"": serving, "ready": not_serving, NPU: not_serving}
            await node.start_kubelet()
            with anyio.fail_after(WITHIN_S):
                assert (await watched.__anext__()).status is serving
        finally:
            channel.close()


async def test_a_socket_of_ours_that_is_silent_is_named(node: SimulatedNode) -> None:
    async with ProbedAgent(node) as agent:
        await agent.until("/healthz", 200)
        path = agent.runtime_dir / "agent.sock"
        path.rename(path.with_name("moved"))
        with silent(path):
            text = await agent.until("/healthz", 503)
            path.unlink()
        assert text == f"not alive\n{path} does not answer: there was no answer within 0.8 s\n"
        await agent.says(f"a probe finds us not alive: {path} does not answer")
        assert await agent.until("/healthz", 200) == "ok\n"  # the agent has made its socket again
        await agent.says("our own sockets answer again")


async def test_an_agent_that_takes_over_serves_on_the_same_port(node: SimulatedNode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    async with ProbedAgent(node, f"127.0.0.1:{port}") as agent:
        await agent.until("/readyz", 200)
        await agent.upgrade()

        async def served() -> int:
            return agent.said().count(f"over HTTP on 127.0.0.1:{port}")

        assert await eventually(served, lambda times: times == 2, within_s=WITHIN_S) == 2
        await agent.until("/readyz", 200)
        assert "is in use" not in agent.said()


async def test_a_loop_that_stands_still_fails_healthz_although_the_process_lives(node: SimulatedNode) -> None:
    """A signal has the process sleep in the middle of its loop, as a call that blocks would."""
    program = "import signal, time; signal.signal(signal.SIGUSR1, lambda *_: time.sleep(3)); from npu_agent.__main__ import main; main()"
    folders = ("--kubelet-dir", str(node.kubelet_dir), "--runtime-dir", str(node.work / "run"))
    argv = (sys.executable, "-c", program, "serve", "-b", "fake", *folders, "--http", "127.0.0.1:0")
    process = await asyncio.create_subprocess_exec(*argv, env=environment(), stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        with anyio.fail_after(WITHIN_S):
            while not (found := SERVING.search((await process.stderr.readline()).decode())):
                pass
        port = int(found[1])
        assert await asyncio.to_thread(get, port, "/healthz", timeout_s=10) == (200, "ok\n")
        process.send_signal(signal.SIGUSR1)
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(get, port, "/healthz", timeout_s=1)
        assert (await asyncio.to_thread(get, port, "/healthz", timeout_s=10))[0] == 200
    finally:
        process.kill()
        await process.communicate()


async def test_a_process_that_stands_still_answers_no_probe_and_does_again_when_it_goes_on(node: SimulatedNode) -> None:
    async with ProbedAgent(node) as agent:
        await agent.until("/readyz", 200)
        port = await agent.port()
        assert agent._process is not None
        pid = agent_pid(agent._process.pid)
        os.kill(pid, signal.SIGSTOP)
        with pytest.raises(TimeoutError):
            await asyncio.to_thread(get, port, "/healthz", timeout_s=1.0)
        os.kill(pid, signal.SIGCONT)
        assert await agent.until("/healthz", 200) == "ok\n"


async def test_a_port_in_use_is_a_problem_that_heals_while_the_devices_are_served(node: SimulatedNode) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with ProbedAgent(node, f"127.0.0.1:{port}") as agent:
            await agent.says(f"HTTP: 127.0.0.1:{port} is in use by another program; end that one, or choose another address with --http")
            await agent.says("registered with kubelet")
            taken.close()
            assert await agent.port() == port
            await agent.until("/readyz", 200)
            assert agent.said().count("in use by another program") == 1
            assert "HTTP: the problem is over" in agent.said()


@pytest.mark.parametrize("address", ["9400", "127.0.0.1:99999"])
def test_a_bad_address_is_one_error_and_a_wrong_use(address: str) -> None:
    for ran in (npu_agent("serve", "--http", address), npu_agent("serve", NPU_AGENT_HTTP=address)):
        assert ran.returncode == 2
        assert ran.stderr.startswith(f"npu-agent: HTTP cannot be served on '{address}': an address is HOST:PORT")
        assert len(ran.stderr.splitlines()) == 1


@pytest.mark.parametrize("options", [(), ("--http", "127.0.0.1:0")], ids=["off", "on"])
async def test_what_serves_http_and_health_is_imported_only_when_it_is_asked_for(node: SimulatedNode, options: tuple[str, ...]) -> None:
    program = "import atexit, sys; atexit.register(lambda: print(*sys.modules)); from npu_agent.__main__ import main; main()"
    folders = ("--kubelet-dir", str(node.kubelet_dir), "--runtime-dir", str(node.work / "run"))
    argv = (sys.executable, "-c", program, "serve", "-b", "fake", *folders, *options)
    agent = await asyncio.create_subprocess_exec(*argv, env=environment(), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE)
    assert agent.stderr is not None
    assert agent.stdout is not None
    with anyio.fail_after(WITHIN_S):
        awaited = b"over HTTP" if options else b"registered with kubelet"
        while awaited not in await agent.stderr.readline():
            pass
        os.kill(agent.pid, signal.SIGTERM)
        modules = {*(await agent.stdout.read()).decode().split()}
        assert await agent.wait() == 0
    assert "npu_agent.agent" in modules
    assert not modules & {"npu_agent.api.grpc.health.v1", "npu_agent.control.health"}
    of_http = {"h11", "npu_agent.observe.http", "npu_agent.observe.probes", "npu_agent.core.probing"}
    assert modules & of_http == (of_http if options else set())

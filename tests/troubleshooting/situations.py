"""The situations of docs/troubleshooting.md, each made with real processes."""

import json
import socket

import anyio
import pytest

from npu_agent.simulator.errors import PodRejected
from npu_agent.simulator.faults import RegisterFault
from npu_agent.simulator.kubelet import SimulatedKubelet
from npu_agent.simulator.pods import Container, Pod
from tests.host_tree import HostTree
from tests.node_labels.api_double import Fault, api_double
from tests.program import agent_pid
from tests.silent import silent
from tests.simulator.own_task import in_own_task
from tests.simulator.plugin import Plugin
from tests.troubleshooting.machine import WITHIN_S, Machine

NPU = "furiosa.ai/npu"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


async def nothing_on_the_host(machine: Machine) -> None:
    tree = HostTree(machine.root / "host")
    port = free_port()
    async with machine.serving("--host-root", tree.root, "--http", f"127.0.0.1:{port}"):
        await machine.get(port, "/readyz", 200)
        await machine.run("list", "--host-root", tree.root)


async def cards_of_a_host(machine: Machine) -> None:
    tree = HostTree(machine.root / "host")
    tree.unbound()
    hanging = tree.rngd(1)
    tree.hang(hanging, "device_state")
    try:
        async with machine.serving("--host-root", tree.root):
            await machine.says("has not come back for")
    finally:
        tree.release(hanging, "device_state", "0\n")


async def a_selector_that_matches_nothing(machine: Machine) -> None:
    resources = [{"name": NPU, "select": {"families": "warboy"}}]
    async with machine.serving("-b", "fake", configuration={"resources": resources}):
        await machine.says("selects by what matches no card")
        await machine.run("list")


async def plain_files(machine: Machine) -> None:
    tree = HostTree(machine.root / "host")
    for path in tree.rngd(0).nodes:
        node = tree.root / path.lstrip("/")
        node.unlink()
        node.touch()
    async with in_own_task(SimulatedKubelet(machine.kubelet_dir, seed=1)) as kubelet:
        await kubelet.start()
        async with machine.serving("--host-root", tree.root):
            await machine.says("registered with kubelet")
            with anyio.fail_after(WITHIN_S):
                await kubelet.until(lambda: NPU in kubelet.quantities() and kubelet.quantities()[NPU].allocatable == 1)
            with pytest.raises(PodRejected) as rejected:
                await kubelet.run_pod(Pod("a", (Container("main", {NPU: 1}),)))
            machine.texts.append(rejected.value.message)


async def kubelet_comes_and_goes(machine: Machine) -> None:
    """No folder, a folder without a socket, a kubelet that refuses, one that takes us, and one that is stopped."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        machine.texts.append(f"the port is {port}")
        async with machine.serving("-b", "fake", "--http", f"127.0.0.1:{port}"):
            await machine.says("in use by another program")
            taken.close()
            await machine.get(port, "/readyz", 503)
            await machine.run("list")
            (machine.kubelet_dir / "device-plugins").mkdir(parents=True)
            await machine.says("socket is not in")
            await machine.get(port, "/readyz", 503)
            async with in_own_task(SimulatedKubelet(machine.kubelet_dir, start_retry_s=0.05, seed=1)) as kubelet:
                kubelet.faults.register.append(RegisterFault(refuse_with="the endpoint is not served"))
                await kubelet.start()
                await machine.get(port, "/readyz", 200)
                await a_silent_socket(machine, port)
                await another_agent(machine)
                await another_plugin(machine, kubelet)
                await a_sick_card(machine, kubelet)
                await kubelet.stop()
                await machine.says("nobody answers on")


async def a_silent_socket(machine: Machine, port: int) -> None:
    path = machine.runtime_dir / "agent.sock"
    path.rename(path.with_name("moved"))
    with silent(path):
        await machine.get(port, "/healthz", 503)
        path.unlink()
    await machine.get(port, "/healthz", 200)


async def another_agent(machine: Machine) -> None:
    await machine.run("serve", "-b", "fake")
    await machine.run("serve", "-b", "fake", runtime_dir=machine.root / "run/other")
    await machine.run("list", runtime_dir=machine.root / "run/npu-agent/none")
    machine.texts[-1] = machine.texts[-1].replace("/none/", "/")


async def another_plugin(machine: Machine, kubelet: SimulatedKubelet) -> None:
    async with Plugin(kubelet.plugin_dir, "stranger.sock", resource=NPU, x=True) as stranger:
        assert await stranger.register() is None
        await machine.says("another device plugin serves this resource")
    with anyio.fail_after(WITHIN_S):
        await kubelet.until(lambda: kubelet.quantities()[NPU].allocatable == 2)


async def a_sick_card(machine: Machine, kubelet: SimulatedKubelet) -> None:
    await machine.run("fake", "fail", "fake-0", "too hot")
    await machine.says("is unhealthy: too hot")
    await machine.run("fake", "heal", "fake-0")
    await machine.says("is healthy again")
    for name in ("a", "b"):  # so that one of them holds it
        await kubelet.run_pod(Pod(name, (Container("main", {NPU: 1}),)))
    await machine.run("fake", "remove", "fake-0")
    await machine.says("has vanished")


async def a_folder_of_somebody_else_s(machine: Machine) -> None:
    folder = machine.kubelet_dir / "device-plugins"
    folder.mkdir(parents=True)
    folder.chmod(0)
    try:
        # Out of its own user namespace no user is root, and none has the rights of one.
        async with machine.serving("-b", "fake", below=("unshare", "--user")):
            await machine.says("cannot be reached by")
    finally:
        folder.chmod(0o700)
    folder.rmdir()
    machine.kubelet_dir.rmdir()
    machine.kubelet_dir.touch()
    async with machine.serving("-b", "fake"):
        await machine.says("cannot be kubelet's")


async def limits(machine: Machine) -> None:
    tree = HostTree(machine.root / "host")
    tree.rngd(0)
    async with machine.serving("--host-root", tree.root) as agent:
        await machine.says("found 1 accelerators")
        await anyio.run_process(["prlimit", "--pid", str(agent_pid(agent.pid)), "--nofile=5"])
        await machine.says("may not open more files")
    (machine.kubelet_dir / "device-plugins").mkdir(parents=True)
    script = 'echo 0 > /proc/sys/user/max_inotify_instances; exec "$@"'
    async with machine.serving("-b", "fake", below=("unshare", "--user", "--map-root-user", "sh", "-c", script, "sh")):
        await machine.says("inotify cannot be used")


async def what_cannot_start(machine: Machine) -> None:
    path = machine.root / "agent.yaml"
    for text in (
        "resources:\n  - name: npu\n",
        f"resources:\n  - name: {NPU}\n    select: {{familes: rngd}}\nprobe_interval_s: often\n",
    ):
        path.write_text(text)
        await machine.run("serve", "--config", path)
    await machine.run("serve", "-b", "fake", "--http", "9400")
    machine.runtime_dir.mkdir(parents=True)
    machine.runtime_dir.chmod(0o777)
    await machine.run("serve", "-b", "fake")


async def an_api_server_that_refuses(machine: Machine) -> None:
    kubeconfig = machine.root / "kubeconfig"
    async with api_double() as api:
        api.always = Fault(status=403)
        kubeconfig.write_text(
            json.dumps(
                {
                    "current-context": "x",
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
                    "clusters": [{"name": "c", "cluster": {"server": api.url}}],
                    "users": [{"name": "u", "user": {"token": "t"}}],
                }
            )
        )
        options = ("-b", "fake", "--kubeconfig", kubeconfig)
        async with machine.serving(*options, "--node-name", "n1", configuration={"cluster": {"labels": "apply"}}):
            await machine.says("the API server refused")
    await machine.run("serve", *options, "--config", machine.root / "agent.yaml")

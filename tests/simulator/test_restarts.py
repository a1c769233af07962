import socket
from pathlib import Path

import anyio
import pytest

from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.errors import KubeletNotRunning
from npu_agent.simulator.kubelet import SimulatedKubelet
from npu_agent.simulator.pods import Container, Pod
from npu_agent.simulator.version import Behaviour
from tests.simulator.own_task import in_own_task
from tests.simulator.plugin import RESOURCE, Plugin, shows, until


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
    return True


def pod(name: str, count: int = 1) -> Pod:
    return Pod(name, (Container(devices={RESOURCE: count}),))


async def test_a_kubelet_that_ends_leaves_sockets_that_refuse(kubelet: SimulatedKubelet) -> None:
    sockets = [kubelet.plugin_dir / "kubelet.sock", kubelet.kubelet_dir / "pod-resources" / "kubelet.sock"]
    assert all(connects(path) for path in sockets)
    await kubelet.stop()
    assert not any(connects(path) for path in sockets)
    assert kubelet.quantities() == {}
    with pytest.raises(KubeletNotRunning):
        await kubelet.run_pod(pod("one"))
    await kubelet.start()
    assert all(connects(path) for path in sockets)


async def test_the_new_socket_has_another_identity_and_the_same_inode_on_demand(kubelet: SimulatedKubelet) -> None:
    path = kubelet.plugin_dir / "kubelet.sock"
    before = path.stat()
    await kubelet.restart(same_inode=True)
    after = path.stat()
    assert (after.st_ino, after.st_ctime_ns > before.st_ctime_ns) == (before.st_ino, True)
    async with Plugin(kubelet.plugin_dir, a=True) as plugin:
        await plugin.register()
        await shows(kubelet, 1, 1)
    await kubelet.restart()
    assert (path.stat().st_ino, path.stat().st_ctime_ns) != (after.st_ino, after.st_ctime_ns)


async def test_between_bind_and_listen_kubelets_socket_refuses(kubelet: SimulatedKubelet) -> None:
    await kubelet.stop()
    kubelet.faults.bind_to_listen_s = 0.5
    async with anyio.create_task_group() as tasks:
        (kubelet.plugin_dir / "kubelet.sock").unlink()
        tasks.start_soon(kubelet.start)
        await anyio.wait_all_tasks_blocked()
        assert not connects(kubelet.plugin_dir / "kubelet.sock")
    assert connects(kubelet.plugin_dir / "kubelet.sock")


async def test_after_a_reboot_pods_are_admitted_anew_and_rejected_without_their_plugin(kubelet: SimulatedKubelet) -> None:
    """Kubelet's own cases 11 and 13."""
    async with Plugin(kubelet.plugin_dir, a=True) as plugin:
        await plugin.register()
        await shows(kubelet, 1, 1)
        await kubelet.run_pod(pod("one"))
        await kubelet.reboot()
        assert "cannot allocate unhealthy devices" in kubelet.pod("one").failed


async def test_a_lost_connection_is_noticed_by_both_sides(kubelet: SimulatedKubelet) -> None:
    async with Plugin(kubelet.plugin_dir, a=True) as plugin:
        await plugin.register()
        await shows(kubelet, 1, 1)
        await kubelet.cut_streams()
        assert kubelet.quantities()[RESOURCE] == Quantity(1, 0)
        await plugin.register()
        await shows(kubelet, 1, 1)
        plugin.cut()
        await shows(kubelet, 1, 0)


async def test_a_thousand_devices_and_two_resources_are_no_trouble(kubelet: SimulatedKubelet) -> None:
    many = {f"card-{number}": True for number in range(1000)}
    async with (
        Plugin(kubelet.plugin_dir, "card.sock", resource=RESOURCE, **many) as plugin,
        Plugin(kubelet.plugin_dir, "x.sock", resource="example.com/x", x=True) as other,
    ):
        await plugin.register()
        await other.register()
        await shows(kubelet, 1000, 1000)
        await shows(kubelet, 1, 1, resource="example.com/x")


async def test_leaving_ends_a_kubelet_with_calls_in_flight(short_dir: Path) -> None:
    async with in_own_task(SimulatedKubelet(short_dir, version="1.30.14")) as kubelet:
        await kubelet.start()
        async with Plugin(kubelet.plugin_dir, a=True) as plugin, anyio.create_task_group() as tasks:
            plugin.may_answer.clear()

            async def call() -> None:
                with pytest.raises(Exception, match="Connection lost"):
                    await plugin.register()

            tasks.start_soon(call)
            await until(kubelet, lambda: kubelet.register_calls == 1)
            await kubelet.stop()
    assert not kubelet.is_running


async def test_a_folder_that_cannot_be_used_fails_the_start(short_dir: Path) -> None:
    async with SimulatedKubelet(short_dir / ("x" * 120)) as kubelet:
        with pytest.raises(OSError, match="too long"):
            await kubelet.start()
        assert not kubelet.is_running


@pytest.mark.parametrize("version", ["1.25.3", "2.0.0", "newest", "1.x"])
def test_what_is_no_version_to_imitate_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match=r"such as 1\.36\.3"):
        Behaviour.of(version)

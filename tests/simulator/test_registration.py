import time
from pathlib import Path

import anyio
import pytest
from grpclib.exceptions import StreamTerminatedError

from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.faults import RegisterFault
from npu_agent.simulator.kubelet import SimulatedKubelet
from npu_agent.simulator.registration import is_extended_resource
from tests.scenarios.eventually import eventually
from tests.simulator.own_task import in_own_task
from tests.simulator.plugin import RESOURCE, Plugin, register, shows, until


@pytest.mark.parametrize(
    ("name", "is_extended"),
    [
        ("furiosa.ai/npu", True),
        ("a/b", True),
        ("furiosa.ai/npu_2.core", True),
        ("furiosa.ai/" + "n" * 63, True),
        ("furiosa.ai/" + "n" * 64, False),
        ("furiosa.ai/", False),
        ("furiosa.ai/npu/2", False),
        ("Furiosa.ai/npu", False),
        ("sub.kubernetes.io/npu", False),
        ("npu", False),
    ],
)
def test_names_of_extended_resources(name: str, is_extended: bool) -> None:
    assert is_extended_resource(name) is is_extended


async def test_an_endpoint_that_comes_up_while_it_is_dialled_is_found(short_dir: Path) -> None:
    async with in_own_task(SimulatedKubelet(short_dir, dial_timeout_s=5)) as kubelet:
        await kubelet.start()
        plugin = Plugin(kubelet.plugin_dir, a=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(plugin.register)
            await until(kubelet, lambda: kubelet.register_calls == 1)
            async with plugin:
                await shows(kubelet, 1, 1)


async def test_a_stream_that_fails_at_once_leaves_the_name_and_is_not_tried_again(kubelet: SimulatedKubelet) -> None:
    """Kubelet's own case 18."""
    async with Plugin(kubelet.plugin_dir) as plugin:
        plugin.devices.set(None)
        await plugin.register()
        await shows(kubelet, 0, 0)
        assert [name for name, _ in plugin.calls] == ["options", "list"]


async def test_a_stream_that_ends_makes_all_unhealthy_and_later_nothing(short_dir: Path) -> None:
    async with in_own_task(SimulatedKubelet(short_dir, stop_grace_s=0.5)) as kubelet:
        await kubelet.start()
        async with Plugin(kubelet.plugin_dir, a=True, b=True) as plugin:
            await plugin.register()
            await shows(kubelet, 2, 2)
            plugin.devices.set(None)
            await shows(kubelet, 2, 0)
            ended = time.monotonic()

            async def quantity() -> Quantity:
                return kubelet.quantities()[RESOURCE]

            await eventually(quantity, lambda seen: seen == Quantity(0, 0))
            assert time.monotonic() - ended >= 0.4


async def test_register_can_be_made_to_fail_after_it_was_carried_out(kubelet: SimulatedKubelet) -> None:
    kubelet.faults.register.append(RegisterFault(refuse_with="lost on the way", after_acceptance=True))
    async with Plugin(kubelet.plugin_dir, a=True) as plugin:
        refusal = await plugin.register()
        assert refusal is not None
        assert refusal.message == "lost on the way"
        await shows(kubelet, 1, 1)


async def test_register_can_be_made_to_fail_to_wait_and_to_hang(kubelet: SimulatedKubelet) -> None:
    kubelet.faults.register.extend([RegisterFault(refuse_with="not now"), RegisterFault(delay_s=0.2), RegisterFault(hang=True)])
    async with Plugin(kubelet.plugin_dir, a=True) as plugin:
        refusal = await plugin.register()
        assert refusal is not None
        assert refusal.message == "not now"
        began = time.monotonic()
        assert await plugin.register() is None
        assert time.monotonic() - began >= 0.2
        with pytest.raises(StreamTerminatedError):
            await register(kubelet.plugin_dir, "card.sock", told_s=0.2)


async def test_a_kubelet_that_ends_leaves_register_without_an_answer(kubelet: SimulatedKubelet) -> None:
    kubelet.faults.register.append(RegisterFault(hang=True))
    async with Plugin(kubelet.plugin_dir, a=True) as plugin, anyio.create_task_group() as tasks:

        async def call() -> None:
            with pytest.raises(StreamTerminatedError):
                await plugin.register()

        tasks.start_soon(call)
        await until(kubelet, lambda: kubelet.register_calls == 1)
        await kubelet.stop()

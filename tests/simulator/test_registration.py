import time

import anyio
import pytest
from grpclib.exceptions import StreamTerminatedError

from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.faults import RegisterFault
from npu_agent.simulator.kubelet import SimulatedKubelet
from npu_agent.simulator.registration import is_extended_resource
from tests.scenarios.eventually import eventually
from tests.simulator.own_task import in_own_task
from tests.simulator.plugin import RESOURCE, Plugin, register, shows, unknown, until


async def test_a_plugin_that_registers_is_asked_its_options_and_listed(kubelet):
    async with Plugin(kubelet.plugin_dir, a=True, b=False) as plugin:
        assert await plugin.register() is None
        await shows(kubelet, 2, 1)
        assert [name for name, _ in plugin.calls] == ["options", "list"]


@pytest.mark.parametrize(
    ("version", "resource", "text"),
    [
        ("v1alpha", RESOURCE, 'requested API version "v1alpha" is not supported by kubelet. Supported version is ["v1beta1"]'),
        ("v1beta1", "card", 'the ResourceName "card" is invalid'),
        ("v1beta1", "kubernetes.io/card", 'the ResourceName "kubernetes.io/card" is invalid'),
        ("v1beta1", "requests.example.com/card", 'the ResourceName "requests.example.com/card" is invalid'),
    ],
)
async def test_what_is_refused_at_sight_is_refused_in_kubelets_words(kubelet, version, resource, text):
    refusal = await register(kubelet.plugin_dir, "card.sock", resource=resource, version=version)
    assert (refusal.status.name, refusal.message) == ("UNKNOWN", text)


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
def test_names_of_extended_resources(name, is_extended):
    assert is_extended_resource(name) is is_extended


async def test_an_endpoint_that_nobody_serves_is_dialled_for_a_while(kubelet):
    refusal = await register(kubelet.plugin_dir, "missing.sock")
    assert (refusal.status.name, refusal.message) == ("UNKNOWN", "failed to dial device plugin: context deadline exceeded")


async def test_options_that_fail_fail_the_registration(kubelet):
    async with Plugin(kubelet.plugin_dir, a=True) as plugin:
        plugin.options_error = unknown("no options today")
        refusal = await plugin.register()
        assert refusal.message == "failed to get device plugin options: rpc error: code = Unknown desc = no options today"
        assert plugin.calls == [("options", ())]
        assert kubelet.quantities() == {}


async def test_an_endpoint_that_comes_up_while_it_is_dialled_is_found(short_dir):
    async with in_own_task(SimulatedKubelet(short_dir, dial_timeout_s=5)) as kubelet:
        await kubelet.start()
        plugin = Plugin(kubelet.plugin_dir, a=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(plugin.register)
            await until(kubelet, lambda: kubelet.register_calls == 1)
            async with plugin:
                await shows(kubelet, 1, 1)


async def test_a_stream_that_fails_at_once_leaves_the_name_and_is_not_tried_again(kubelet):
    """Kubelet's own case 18."""
    async with Plugin(kubelet.plugin_dir) as plugin:
        plugin.devices.set(None)
        await plugin.register()
        await shows(kubelet, 0, 0)
        assert [name for name, _ in plugin.calls] == ["options", "list"]


async def test_a_stream_that_ends_makes_all_unhealthy_and_later_nothing(short_dir):
    async with in_own_task(SimulatedKubelet(short_dir, stop_grace_s=0.2)) as kubelet:
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
            assert time.monotonic() - ended >= 0.15


async def test_the_end_of_an_old_stream_takes_the_newest_client_down(kubelet):
    async with Plugin(kubelet.plugin_dir, "old.sock", a=True) as old, Plugin(kubelet.plugin_dir, "new.sock", b=True, c=True) as new:
        await old.register()
        await shows(kubelet, 1, 1)
        await new.register()
        await shows(kubelet, 2, 2)
        old.devices.set(None)
        await shows(kubelet, 2, 0)


async def test_newer_kubelets_tell_the_clients_of_a_resource_apart(short_dir):
    async with in_own_task(SimulatedKubelet(short_dir, version="1.37.2")) as kubelet:
        await kubelet.start()
        async with Plugin(kubelet.plugin_dir, "old.sock", a=True) as old, Plugin(kubelet.plugin_dir, "new.sock", b=True, c=True) as new:
            await old.register()
            await shows(kubelet, 1, 1)
            await new.register()
            await shows(kubelet, 2, 2)
            old.devices.set(None)
            new.devices.set({"b": True, "c": True, "d": True})
            await shows(kubelet, 3, 3)


async def test_a_failed_registration_orphans_the_one_before(kubelet):
    """Its devices stay allocatable when its stream ends."""
    async with Plugin(kubelet.plugin_dir, "old.sock", a=True) as old:
        await old.register()
        await shows(kubelet, 1, 1)
        assert await register(kubelet.plugin_dir, "missing.sock") is not None
        old.devices.set({"a": True, "b": True})
        await shows(kubelet, 2, 2)
        old.devices.set(None)
        async with Plugin(kubelet.plugin_dir, "other.sock", resource="example.com/other", x=True) as other:
            await other.register()
            await shows(kubelet, 1, 1, resource="example.com/other")
        assert kubelet.quantities()[RESOURCE] == Quantity(2, 2)


async def test_a_list_of_more_than_4_mib_ends_the_stream(kubelet):
    async with Plugin(kubelet.plugin_dir, a=True) as plugin:
        await plugin.register()
        await shows(kubelet, 1, 1)
        plugin.devices.set({f"{number:01000}": True for number in range(4_200)})
        await shows(kubelet, 1, 0)
        assert plugin.calls_of("list") == [()]


@pytest.mark.parametrize(("version", "is_governed"), [("1.34.4", False), ("1.35.4", True)])
async def test_the_deadline_of_register_ends_the_dial_from_1_35_on(short_dir, version, is_governed):
    async with in_own_task(SimulatedKubelet(short_dir, version=version)) as kubelet:
        await kubelet.start()
        async with Plugin(kubelet.plugin_dir, a=True) as plugin:
            plugin.may_answer.clear()
            with pytest.raises(TimeoutError):
                await register(kubelet.plugin_dir, "card.sock", timeout_s=0.2)
            plugin.may_answer.set()
            if is_governed:
                assert await register(kubelet.plugin_dir, "card.sock") is None
                await shows(kubelet, 1, 1)
                assert len(plugin.calls_of("list")) == 1
            else:
                await shows(kubelet, 1, 1)
                assert len(plugin.calls_of("options")) == 1


async def test_register_can_be_made_to_fail_after_it_was_carried_out(kubelet):
    kubelet.faults.register.append(RegisterFault(refuse_with="lost on the way", after_acceptance=True))
    async with Plugin(kubelet.plugin_dir, a=True) as plugin:
        assert (await plugin.register()).message == "lost on the way"
        await shows(kubelet, 1, 1)


async def test_register_can_be_made_to_fail_to_wait_and_to_hang(kubelet):
    kubelet.faults.register.extend([RegisterFault(refuse_with="not now"), RegisterFault(delay_s=0.2), RegisterFault(hang=True)])
    async with Plugin(kubelet.plugin_dir, a=True) as plugin:
        assert (await plugin.register()).message == "not now"
        began = time.monotonic()
        assert await plugin.register() is None
        assert time.monotonic() - began >= 0.2
        with pytest.raises(TimeoutError):
            await register(kubelet.plugin_dir, "card.sock", timeout_s=0.2)


async def test_a_kubelet_that_ends_leaves_register_without_an_answer(kubelet):
    kubelet.faults.register.append(RegisterFault(hang=True))
    async with Plugin(kubelet.plugin_dir, a=True) as plugin, anyio.create_task_group() as tasks:

        async def call() -> None:
            with pytest.raises(StreamTerminatedError):
                await plugin.register()

        tasks.start_soon(call)
        await until(kubelet, lambda: kubelet.register_calls == 1)
        await kubelet.stop()

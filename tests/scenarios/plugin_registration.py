"""What kubelet makes of registrations, shown with a plugin of a few lines: the reasons for how the agent's link behaves."""

import time

import anyio
import pytest
from grpclib.exceptions import StreamTerminatedError

from tests.scenarios.eventually import eventually
from tests.scenarios.node import Node, Quantity
from tests.scenarios.seen import shows
from tests.scenarios.versions import since
from tests.simulator.plugin import RESOURCE, Plugin, register, unknown

OTHER = "example.com/other"


@pytest.mark.parametrize(
    ("version_sent", "resource", "text"),
    [
        ("v1alpha", RESOURCE, 'requested API version "v1alpha" is not supported by kubelet. Supported version is ["v1beta1"]'),
        ("v1beta1", "card", 'the ResourceName "card" is invalid'),
        ("v1beta1", "kubernetes.io/card", 'the ResourceName "kubernetes.io/card" is invalid'),
        ("v1beta1", "requests.example.com/card", 'the ResourceName "requests.example.com/card" is invalid'),
    ],
    ids=["version", "no domain", "domain of Kubernetes", "prefix of quotas"],
)
async def test_a_registration_is_refused_with_these_words(node: Node, version_sent: str, resource: str, text: str) -> None:
    refusal = await register(node.kubelet_dir / "device-plugins", "card.sock", resource=resource, version=version_sent)
    assert refusal is not None
    assert (refusal.status.name, refusal.message) == ("UNKNOWN", text)


async def test_a_plugin_is_asked_for_its_options_and_then_for_its_list(node: Node) -> None:
    async with plugin_on(node, a=True, b=False) as plugin:
        assert await plugin.register() is None
        await shows(node, 2, 1, resource=RESOURCE)
        assert [call for call, _ in plugin.calls] == ["options", "list"]


async def test_options_that_fail_fail_the_registration_and_nothing_is_listed(node: Node) -> None:
    """Kubelet's own case 14."""
    async with plugin_on(node, a=True) as plugin:
        plugin.options_error = unknown("no options today")
        refusal = await plugin.register()
        assert refusal is not None
        assert refusal.message == "failed to get device plugin options: rpc error: code = Unknown desc = no options today"
        assert plugin.calls == [("options", ())]
        assert await node.quantity(RESOURCE) is None


async def test_an_old_stream_that_ends_takes_the_new_one_with_it_up_to_1_36(node: Node) -> None:
    async with plugin_on(node, "old.sock", a=True) as old, plugin_on(node, "new.sock", b=True, c=True) as new:
        await old.register()
        await shows(node, 1, 1, resource=RESOURCE)
        await new.register()
        await shows(node, 2, 2, resource=RESOURCE)
        old.devices.set(None)
        if since(node, "1.37"):
            new.devices.set({"b": True, "c": True, "d": True})
            await shows(node, 3, 3, resource=RESOURCE)
        else:
            await shows(node, 2, 0, resource=RESOURCE)
            # The old connection is closed too, so whoever registers again starts afresh.
            await new.register()
            await shows(node, 2, 2, resource=RESOURCE)


async def test_a_new_stream_that_ends_first_leaves_the_old_one_to_1_37_and_nothing_to_those_before(node: Node) -> None:
    async with plugin_on(node, "old.sock", a=True) as old, plugin_on(node, "new.sock", b=True, c=True) as new:
        await old.register()
        await shows(node, 1, 1, resource=RESOURCE)
        await new.register()
        await shows(node, 2, 2, resource=RESOURCE)
        new.devices.set(None)
        if not since(node, "1.37"):
            await shows(node, 2, 0, resource=RESOURCE)
        # The old stream is still read: its next list replaces the other one's.
        old.devices.set({"a": True, "x": True, "y": True})
        await shows(node, 3, 3, resource=RESOURCE)


async def test_a_registration_that_fails_orphans_the_one_before_up_to_1_36(node: Node) -> None:
    """Its devices stay allocatable when its stream ends."""
    async with plugin_on(node, "old.sock", a=True) as old, plugin_on(node, "bad.sock") as bad:
        await old.register()
        await shows(node, 1, 1, resource=RESOURCE)
        bad.options_error = unknown("not me")
        assert await bad.register() is not None
        old.devices.set({"a": True, "b": True})
        await shows(node, 2, 2, resource=RESOURCE)
        old.devices.set(None)
        if since(node, "1.37"):
            await shows(node, 2, 0, resource=RESOURCE)
            return
        async with plugin_on(node, "other.sock", resource=OTHER, x=True) as other:
            await other.register()
            await shows(node, 1, 1, resource=OTHER)
        assert await node.quantity(RESOURCE) == Quantity(2, 2)


async def test_a_socket_that_is_connected_may_not_register_again_from_1_37_on(node: Node) -> None:
    async with plugin_on(node, a=True) as plugin:
        await plugin.register()
        await shows(node, 1, 1, resource=RESOURCE)
        refusal = await plugin.register()
        if since(node, "1.37"):
            assert refusal is not None
            assert refusal.message is not None
            assert refusal.message.startswith("device plugin already connected: /")
            assert refusal.message.endswith("/device-plugins/card.sock")
        else:
            assert refusal is None
            await shows(node, 1, 1, resource=RESOURCE)


async def let_register_run_out(node: Node, plugin: Plugin) -> None:
    """Register and do not answer kubelet until it has ended the call at its deadline, or the caller has."""
    plugin.may_answer.clear()
    if not since(node, "1.34"):
        with pytest.raises(TimeoutError):
            await register(plugin.plugin_dir, plugin.endpoint, timeout_s=0.4, told_s=0.2)
        return
    began = time.monotonic()
    try:
        refusal = await register(plugin.plugin_dir, plugin.endpoint, timeout_s=5, told_s=0.2)
        said = (refusal and refusal.message) or "nothing"
    except StreamTerminatedError as reset:
        said = str(reset)
    endings = ["Stream reset by remote party"]
    if since(node, "1.35"):
        # Those end what they wait for at the same deadline, and either may be the first to leave.
        endings.append("failed to get device plugin options: rpc error: code = DeadlineExceeded desc = ")
    assert said.startswith(tuple(endings)), said
    assert time.monotonic() - began >= 0.2


async def test_the_deadline_of_register_ends_the_call_from_1_34_on(node: Node) -> None:
    """Before, kubelet says nothing when it has passed."""
    async with plugin_on(node, a=True) as plugin:
        await let_register_run_out(node, plugin)
        plugin.may_answer.set()


async def test_the_deadline_of_register_ends_what_it_began_from_1_35_on(node: Node) -> None:
    """Up to 1.34 kubelet goes on with a registration whose caller has given up."""
    async with plugin_on(node, a=True) as plugin:
        await let_register_run_out(node, plugin)
        if since(node, "1.35"):

            async def awaited() -> int:
                return plugin.options_awaited

            await eventually(awaited, lambda count: count == 0)
            plugin.may_answer.set()
            assert await plugin.register() is None
            await shows(node, 1, 1, resource=RESOURCE)
            assert len(plugin.calls_of("list")) == 1
        else:
            plugin.may_answer.set()
            await shows(node, 1, 1, resource=RESOURCE)
            assert len(plugin.calls_of("options")) == 1


async def test_a_socket_that_nobody_serves_is_dialled_for_ten_seconds(node: Node) -> None:
    with anyio.fail_after(14):
        refusal = await register(node.kubelet_dir / "device-plugins", "missing.sock")
    assert refusal is not None
    assert refusal.message == "failed to dial device plugin: context deadline exceeded"


async def test_a_stream_that_ends_makes_every_device_unhealthy_at_once(node: Node) -> None:
    """Kubelet's own cases 19 and 20."""
    async with plugin_on(node, a=True, b=True) as plugin:
        await plugin.register()
        await shows(node, 2, 2, resource=RESOURCE)
        plugin.devices.set(None)
        await shows(node, 2, 0, resource=RESOURCE, within_s=2)
        assert plugin.calls_of("list") == [()]


async def test_a_connection_that_breaks_makes_every_device_unhealthy_at_once(node: Node) -> None:
    async with plugin_on(node, a=True, b=True) as plugin:
        await plugin.register()
        await shows(node, 2, 2, resource=RESOURCE)
        plugin.cut()
        await shows(node, 2, 0, resource=RESOURCE, within_s=2)


async def test_a_list_of_more_than_4_mib_ends_the_stream(node: Node) -> None:
    async with plugin_on(node, a=True) as plugin:
        await plugin.register()
        await shows(node, 1, 1, resource=RESOURCE)
        plugin.devices.set({f"{number:01000}": True for number in range(4_200)})
        await shows(node, 1, 0, resource=RESOURCE)


async def test_each_list_replaces_the_one_before(node: Node) -> None:
    async with plugin_on(node, a=True, b=True) as plugin:
        await plugin.register()
        await shows(node, 2, 2, resource=RESOURCE)
        for devices, capacity, allocatable in [({"a": False, "b": True}, 2, 1), ({"c": True}, 1, 1), ({}, 0, 0), ({"a": True}, 1, 1)]:
            plugin.devices.set(devices)
            await shows(node, capacity, allocatable, resource=RESOURCE)


def plugin_on(node: Node, endpoint: str = "card.sock", *, resource: str = RESOURCE, **health: bool) -> Plugin:
    return Plugin(node.kubelet_dir / "device-plugins", endpoint, resource=resource, **health)

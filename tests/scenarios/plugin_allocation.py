"""How kubelet chooses devices for a pod and what it makes of a plugin's answers, shown with a plugin of a few lines."""

from collections.abc import AsyncIterator

import pytest
from grpclib.const import Status
from grpclib.exceptions import GRPCError

from npu_agent.api.v1beta1 import DevicePluginOptions
from tests.scenarios.node import Container, Node, Pod, PodRejected
from tests.scenarios.seen import held, shows
from tests.scenarios.versions import since
from tests.simulator.own_task import in_own_task
from tests.simulator.plugin import RESOURCE, Plugin


@pytest.fixture
async def plugin(node: Node) -> AsyncIterator[Plugin]:
    """A plugin with four devices that offers its preference."""
    async with in_own_task(Plugin(node.kubelet_dir / "device-plugins", a=True, b=True, c=True, d=True)) as plugin:
        plugin.options = DevicePluginOptions(get_preferred_allocation_available=True)
        await plugin.register()
        await shows(node, 4, 4, resource=RESOURCE)
        yield plugin


def pod(name: str, count: int = 1) -> Pod:
    return Pod(name, [Container(devices={RESOURCE: count})])


async def refused(node: Node, pod: Pod) -> str:
    """Return why kubelet rejects the pod, without what it says of every rejection."""
    with pytest.raises(PodRejected) as rejection:
        await node.run_pod(pod)
    assert rejection.value.reason == "UnexpectedAdmissionError"
    text = rejection.value.message.removeprefix("Pod was rejected: ")
    assert text.startswith("Allocate failed due to ")
    assert text.endswith(", which is unexpected")
    return text.removeprefix("Allocate failed due to ").removesuffix(", which is unexpected")


async def test_what_the_plugin_prefers_is_given(node: Node, plugin: Plugin) -> None:
    plugin.prefer = lambda available, must, size: ["b", "d"]
    await node.run_pod(pod("pair", 2))
    assert await held(node, "pair", resource=RESOURCE) == {"b", "d"}
    assert plugin.preferences == [(frozenset("abcd"), frozenset(), 2)]
    assert plugin.calls_of("allocate") == [("b", "d")]


async def test_a_preference_is_asked_for_even_where_there_is_no_choice(node: Node, plugin: Plugin) -> None:
    await node.run_pod(pod("all", 4))
    assert plugin.preferences == [(frozenset("abcd"), frozenset(), 4)]


@pytest.mark.parametrize("preferred", [[], ["b"], ["b", "nonsense"], ["a", "b", "c", "d"]], ids=["none", "short", "bogus", "long"])
async def test_kubelet_makes_up_for_a_preference_that_is(node: Node, plugin: Plugin, preferred: list[str]) -> None:
    plugin.prefer = lambda available, must, size: preferred
    await node.run_pod(pod("pair", 2))
    given = await held(node, "pair", resource=RESOURCE)
    assert len(given) == 2
    assert len(preferred) > 2 or set(preferred) & set("abcd") <= given


async def test_devices_of_an_init_container_must_be_in_the_preference(node: Node, plugin: Plugin) -> None:
    await node.run_pod(Pod("handed", [Container("prepare", {RESOURCE: 1}, init=True), Container("main", {RESOURCE: 3})]))
    (first, must, size), (available, handed, wanted) = plugin.preferences
    assert (first, must, size) == (frozenset("abcd"), frozenset(), 1)
    assert (available, handed, wanted) == (frozenset("abcd"), frozenset(plugin.calls_of("allocate")[0]), 3)
    assert handed <= await held(node, "handed", resource=RESOURCE)


async def test_no_preference_is_asked_for_where_an_init_container_had_enough(node: Node, plugin: Plugin) -> None:
    await node.run_pod(Pod("handed", [Container("prepare", {RESOURCE: 2}, init=True), Container("main", {RESOURCE: 2})]))
    assert len(plugin.preferences) == 1
    first, second = plugin.calls_of("allocate")
    assert first == second


async def test_a_sidecar_keeps_its_devices_from_1_29_on(node: Node, plugin: Plugin) -> None:
    """Before, it is an ordinary init container, whose devices are given on."""
    containers = [
        Container("sidecar", {RESOURCE: 1}, init=True, restartable=True),
        Container("main", {RESOURCE: 1}),
    ]
    await node.run_pod(Pod("assisted", containers))
    sidecar, main = plugin.calls_of("allocate")
    assert (sidecar != main) is since(node, "1.29")


async def test_a_preference_that_fails_costs_the_pod_its_admission(node: Node, plugin: Plugin) -> None:
    def fail(*request: object) -> list[str]:
        raise GRPCError(Status.INTERNAL, "no idea")

    plugin.prefer = fail
    said = "device plugin GetPreferredAllocation rpc failed with err: rpc error: code = Internal desc = no idea"
    assert await refused(node, pod("one")) == said


async def test_the_text_of_a_failed_allocation_reaches_the_pod(node: Node, plugin: Plugin) -> None:
    plugin.allocate_error = GRPCError(Status.RESOURCE_EXHAUSTED, "npu busy")
    assert await refused(node, pod("one")) == "rpc error: code = ResourceExhausted desc = npu busy"
    plugin.allocate_error = None
    await node.run_pod(pod("all", 4))


async def test_an_answer_for_no_container_fails_the_pod_and_leaks_its_devices(node: Node, plugin: Plugin) -> None:
    plugin.answers_allocate_with_nothing = True
    assert "no containers return in allocation response" in await refused(node, pod("unlucky", 2))
    plugin.answers_allocate_with_nothing = False
    assert await refused(node, pod("next", 3)) == f"requested number of devices unavailable for {RESOURCE}. Requested: 3, Available: 2"


async def test_a_stopped_plugin_cannot_be_allocated_from(node: Node, plugin: Plugin) -> None:
    plugin.devices.set(None)
    await shows(node, 4, 0, resource=RESOURCE)
    assert await refused(node, pod("late")) == f"no healthy devices present; cannot allocate unhealthy devices {RESOURCE}"


async def test_a_resource_that_kubelet_never_heard_of_is_not_its_business(node: Node, plugin: Plugin) -> None:
    await node.run_pod(Pod("naive", [Container(devices={"example.com/unheard": 1})]))
    assert await held(node, "naive", resource="example.com/unheard") == frozenset()


async def test_each_start_of_a_container_is_told_to_a_plugin_that_wants_it(node: Node, plugin: Plugin) -> None:
    plugin.devices.set(None)
    await shows(node, 4, 0, resource=RESOURCE)
    async with Plugin(plugin.plugin_dir, "ready.sock", a=True) as ready:
        ready.options = DevicePluginOptions(pre_start_required=True)
        await ready.register()
        await shows(node, 1, 1, resource=RESOURCE)
        await node.run_pod(pod("one"))
        before = len(ready.calls_of("pre-start"))
        await node.restart_containers("one")
        assert ready.calls_of("pre-start") == [("a",)] * (before + 1)
        assert len(ready.calls_of("allocate")) == 1

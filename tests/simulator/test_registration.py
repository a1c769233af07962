import anyio
import pytest

from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.kubelet import SimulatedKubelet
from npu_agent.simulator.registration import is_extended_resource
from tests.simulator.plugin import RESOURCE, Plugin, register, unknown


async def shows(kubelet: SimulatedKubelet, capacity: int, allocatable: int, *, resource: str = RESOURCE) -> None:
    """Return when the node shows that; fail after a while."""
    with anyio.fail_after(5):
        await kubelet.until(lambda: kubelet.quantities().get(resource) == Quantity(capacity, allocatable))


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

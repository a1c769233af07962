"""The NodeFeature object for NFD's master: what it says, and when it is written."""

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from npu_agent.cluster.client import ApiServer
from npu_agent.cluster.errors import ApiRefused
from npu_agent.cluster.node_feature import GROUP, NodeFeature, attributes, object_name
from tests.node_labels.api_double import ApiDouble, Fault, api_double
from tests.node_labels.cards import card, state

PATH = f"{GROUP}/namespaces/npu/nodefeatures/npu-agent-n1"


def token(pod: str) -> str:
    claims = {"kubernetes.io": {"namespace": "npu", "pod": {"name": pod, "uid": f"uid-{pod}"}}}
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.sig"


@pytest.fixture
async def api() -> AsyncIterator[ApiDouble]:
    async with api_double() as double:
        double.token = token("agent-1")
        yield double


def output(api: ApiDouble) -> NodeFeature:
    return NodeFeature(ApiServer(lambda: replace(api.access(), namespace="npu")), "n1", "npu-agent.io")


async def test_it_is_made_with_the_labels_of_the_node_and_an_element_of_each_card(api: ApiDouble) -> None:
    told = output(api)
    await told.bring(told.wanted(state(card(index=0), card(index=4, attributes=(("board-revision", "B1"),)))))
    [written] = api.written
    assert written.body["metadata"] == {
        "name": "npu-agent-n1",
        "namespace": "npu",
        "labels": {"nfd.node.kubernetes.io/node-name": "n1"},
        "ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "agent-1", "uid": "uid-agent-1"}],
    }
    assert written.body["spec"]["labels"]["furiosa.ai/npu.count"] == "2"
    elements = written.body["spec"]["features"]["instances"]["npu-agent.accelerator"]["elements"]
    assert [element["attributes"]["id"] for element in elements] == ["RNGD-0", "RNGD-4"]
    assert elements[1]["attributes"]["board-revision"] == "B1"
    assert elements[1]["attributes"]["numa-node"] == "1"


async def test_it_is_written_again_for_other_cards_another_pod_and_what_somebody_changed(api: ApiDouble) -> None:
    told = output(api)
    wanted = told.wanted(state(card()))
    await told.bring(wanted)
    await told.bring(wanted)
    assert len(api.written) == 1
    api.objects[PATH]["spec"]["labels"]["furiosa.ai/npu.count"] = "9"
    await told.bring(wanted)
    assert len(api.written) == 2
    api.objects[PATH]["metadata"]["labels"].clear()
    await told.bring(wanted)
    assert len(api.written) == 3
    api.objects[PATH]["spec"]["features"]["instances"].clear()
    await told.bring(wanted)
    assert len(api.written) == 4
    api.token = token("agent-2")
    await told.bring(wanted)
    assert api.written[-1].body["metadata"]["ownerReferences"][0]["name"] == "agent-2"


async def test_what_cannot_be_used_is_no_element(api: ApiDouble) -> None:
    told = output(api)
    assert told.wanted(state(card(unusable="no driver is bound to it", parts=()))).cards == ()


async def test_a_refusal_is_handed_on(api: ApiDouble) -> None:
    api.always = Fault(status=403)
    told = output(api)
    with pytest.raises(ApiRefused):
        await told.bring(told.wanted(state(card())))


def test_what_is_not_known_of_a_card_is_no_attribute() -> None:
    assert attributes(card(driver="", numa_node=None)).keys() == {"id", "family", "product", "firmware"}


def test_the_name_of_a_node_that_is_very_long_is_cut() -> None:
    assert len(object_name("n" * 253)) == 253

"""Labels and the taint on a real API server: what apply keeps and takes, and that nothing of anybody else is lost."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from npu_agent.cluster.cleanup import clean, clean_all
from npu_agent.cluster.client import JSON, MERGE, METADATA, ApiServer
from npu_agent.cluster.errors import ApiRefused
from npu_agent.cluster.labels import Description, describe
from npu_agent.cluster.node import Wanted, bring
from npu_agent.cluster.node_feature import NodeFeature
from npu_agent.cluster.outputs import NodeOutput
from npu_agent.cluster.taints import ANNOTATION, Taint
from tests.cluster.api_server import RealApiServer
from tests.node_labels.cards import card, inventory, state

TAINT = Taint("furiosa.ai/npu", "exclusive", "NoSchedule")
OURS = {"key": TAINT.key, "value": TAINT.value, "effect": TAINT.effect}
THEIRS = {"example.com/theirs": "stays"}


class Counting(ApiServer):
    """What the agent asks by, with a list of what was asked."""

    def __init__(self, real: RealApiServer, token: str | None = None) -> None:
        access = real.access() if token is None else real.access(token)
        super().__init__(lambda: access)
        self.asked: list[str] = []

    async def request(self, method: str, path: str, **more: Any) -> Mapping[str, Any]:
        self.asked.append(method)
        return await super().request(method, path, **more)


@pytest.fixture
def node(real_api: RealApiServer, request: pytest.FixtureRequest) -> str:
    name = str(request.node.name).replace("_", "-")[:60].strip("-").lower()
    real_api.add_node(name)
    return name


async def test_labels_are_applied_changed_and_taken_and_those_of_others_stay(real_api: RealApiServer, node: str) -> None:
    api = real_api.client()
    two = describe(inventory(card(index=0), card(index=1)))
    await bring(api, node, Wanted(two))
    assert real_api.labels(node) == {**THEIRS, **two.labels}
    real_api.kubectl("label", "node", node, "example.com/new=too", "furiosa.ai/not-ours=stays")
    one = describe(inventory(card("warboy", index=0)))
    await bring(api, node, Wanted(one))
    others = {**THEIRS, "example.com/new": "too", "furiosa.ai/not-ours": "stays"}
    assert real_api.labels(node) == {**others, **one.labels}
    await bring(api, node, Wanted(Description()))
    assert real_api.labels(node) == others


async def test_what_does_not_fit_a_label_is_an_annotation_and_goes_with_it(real_api: RealApiServer, node: str) -> None:
    long = describe(inventory(*(card(index=index, id=f"82540B87-1055-48C6-AAB1-{index:012X}") for index in range(8))))
    assert long.annotations
    await bring(real_api.client(), node, Wanted(long))
    assert long.annotations.items() <= real_api.node(node)["metadata"]["annotations"].items()
    await bring(real_api.client(), node, Wanted(describe(inventory(card()))))
    assert not long.annotations.keys() & real_api.node(node)["metadata"].get("annotations", {}).keys()


async def test_nothing_is_written_where_nothing_differs(real_api: RealApiServer, node: str) -> None:
    api = Counting(real_api)
    wanted = Wanted(describe(inventory(card())), TAINT, with_taint=True)
    await bring(api, node, wanted)
    before = real_api.node(node)
    api.asked.clear()
    await bring(api, node, wanted)
    assert api.asked == ["GET"]
    assert real_api.node(node) == before


async def test_a_label_of_ours_that_somebody_changed_or_took_is_ours_again(real_api: RealApiServer, node: str) -> None:
    wanted = Wanted(describe(inventory(card())))
    await bring(real_api.client(), node, wanted)
    real_api.kubectl("label", "node", node, "furiosa.ai/npu.count=7", "furiosa.ai/npu.family-", "--overwrite")
    await bring(real_api.client(), node, wanted)
    assert wanted.description is not None
    assert real_api.labels(node) == {**THEIRS, **wanted.description.labels}


async def test_a_node_that_is_not_there_is_not_made_nor_another_one_of_its_name_labelled(real_api: RealApiServer, node: str) -> None:
    api = real_api.client()
    described = describe(inventory(card()))
    with pytest.raises(ApiRefused) as refused:
        await bring(api, "no-such-node", Wanted(described))
    assert refused.value.status == 404

    class Late(ApiServer):
        """The node goes between the read and the write."""

        async def request(self, method: str, path: str, **more: Any) -> Mapping[str, Any]:
            if method == "PATCH":
                real_api.kubectl("delete", "node", node)
            return await super().request(method, path, **more)

    with pytest.raises(ApiRefused) as gone:
        await bring(Late(real_api.access), node, Wanted(described))
    assert gone.value.status in (404, 409)
    with pytest.raises(Exception, match="not found"):
        real_api.node(node)


async def test_a_read_of_labels_alone_brings_no_more_than_metadata(real_api: RealApiServer, node: str) -> None:
    whole = await real_api.client().request("GET", f"/api/v1/nodes/{node}", accept=JSON)
    metadata = await real_api.client().request("GET", f"/api/v1/nodes/{node}", accept=METADATA)
    assert whole["kind"] == "Node"
    assert metadata["kind"] == "PartialObjectMetadata"
    assert "spec" not in metadata


async def test_the_taint_comes_goes_and_is_known_as_ours(real_api: RealApiServer, node: str) -> None:
    real_api.kubectl("taint", "node", node, "example.com/theirs=x:NoExecute")
    theirs = {"key": "example.com/theirs", "value": "x", "effect": "NoExecute"}
    output = NodeOutput(real_api.client(), node, prefix=None, taint=TAINT)
    await output.bring(output.wanted(state(card())))
    assert [{**taint, "timeAdded": None} for taint in real_api.taints(node)] == [{**taint, "timeAdded": None} for taint in (theirs, OURS)]
    assert real_api.node(node)["metadata"]["annotations"][ANNOTATION] == str(TAINT)
    assert real_api.labels(node) == THEIRS
    await output.bring(output.wanted(state()))
    assert [taint["key"] for taint in real_api.taints(node)] == ["example.com/theirs"]
    assert ANNOTATION not in real_api.node(node)["metadata"].get("annotations", {})


async def test_no_taint_of_anybody_is_lost_whoever_writes_at_the_same_time(real_api: RealApiServer, node: str) -> None:
    """Three others put and take taints as careful writers do, while ours comes and goes thirty times."""
    stop = anyio.Event()
    written = dict.fromkeys(range(3), 0)

    async def other(number: int) -> None:
        api, path = real_api.client(), f"/api/v1/nodes/{node}"
        while not stop.is_set():
            there = await api.request("GET", path)
            taints = [taint for taint in there["spec"].get("taints", []) if taint["key"] != f"example.com/{number}"]
            mine = {"key": f"example.com/{number}", "value": str(written[number] + 1), "effect": "NoSchedule"}
            body = {"metadata": {"resourceVersion": there["metadata"]["resourceVersion"]}, "spec": {"taints": [*taints, mine]}}
            try:
                await api.request("PATCH", path, body=body, content_type=MERGE)
                written[number] += 1
            except ApiRefused as refused:
                if refused.status != 409:
                    raise
            await asyncio.sleep(0.005)

    api = Counting(real_api)
    output = NodeOutput(api, node, prefix="npu-agent.io", taint=TAINT)
    conflicts = 0
    async with anyio.create_task_group() as tasks:
        for number in written:
            tasks.start_soon(other, number)
        for turn in range(30):
            wanted = output.wanted(state(card()) if turn % 2 == 0 else state())
            while True:
                try:
                    await output.bring(wanted)
                    break
                except ApiRefused as refused:
                    if refused.status != 409:
                        raise
                    conflicts += 1
            keys = [taint["key"] for taint in (await real_api.client().request("GET", f"/api/v1/nodes/{node}"))["spec"].get("taints", [])]
            assert keys.count(TAINT.key) == (turn % 2 == 0)
        stop.set()
    assert min(written.values()) > 0
    assert conflicts == 0, "it went on by itself each time"
    assert api.asked.count("PATCH") > 60, "somebody came in between"
    last = {taint["key"]: taint["value"] for taint in real_api.taints(node)}
    assert last == {f"example.com/{number}": str(count) for number, count in written.items()}


async def test_cleanup_takes_all_of_ours_off_one_node_or_all_and_nothing_else(real_api: RealApiServer, node: str) -> None:
    others = [f"{node[:40]}-{number}" for number in range(2)]
    for name in others:
        real_api.add_node(name)
    real_api.kubectl("taint", "node", node, "example.com/theirs:NoSchedule")
    for name in (node, others[0]):
        output = NodeOutput(real_api.client(), name, prefix="npu.example.com", taint=TAINT)
        await output.bring(output.wanted(state(card())))
    cleaned = await clean(real_api.client(), node)
    assert {"furiosa.ai/npu.count", "npu.example.com/count", f"taint {TAINT}"} <= {*cleaned.gone}
    assert real_api.labels(node) == THEIRS
    assert [taint["key"] for taint in real_api.taints(node)] == ["example.com/theirs"]
    all_cleaned = {one.node: one async for one in clean_all(real_api.client())}
    assert "furiosa.ai/npu.count" in all_cleaned[others[0]].gone
    assert others[1] not in all_cleaned, "agents have said nothing of it"
    assert all(not one.problem for one in all_cleaned.values())
    for name in others:
        assert real_api.labels(name) == THEIRS
        assert real_api.taints(name) == []
        assert ANNOTATION not in real_api.node(name)["metadata"].get("annotations", {})


NODE_FEATURES = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "nodefeatures.nfd.k8s-sigs.io"},
    "spec": {
        "group": "nfd.k8s-sigs.io",
        "names": {"kind": "NodeFeature", "listKind": "NodeFeatureList", "plural": "nodefeatures", "singular": "nodefeature"},
        "scope": "Namespaced",
        "versions": [
            {
                "name": "v1alpha1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": json.loads((Path(__file__).parent / "nodefeature.schema.json").read_text())},
            }
        ],
    },
}
"""The kind as NFD's own definition has it (deployment/base/nfd-crds of v0.18), without the words."""


async def test_a_node_feature_object_says_it_to_nfd_and_goes_with_the_pod(real_api: RealApiServer, node: str) -> None:
    real_api.apply(NODE_FEATURES)
    real_api.kubectl("wait", "--for=condition=Established", "crd/nodefeatures.nfd.k8s-sigs.io", "--timeout=30s")
    real_api.add_pod("feature-pod", node)
    api = Counting(real_api, real_api.token("npu-agent", pod="feature-pod"))
    real_api.kubectl("create", "clusterrolebinding", "features", "--clusterrole=cluster-admin", "--serviceaccount=npu:npu-agent")
    try:
        output = NodeFeature(api, node, "npu-agent.io")
        await output.bring(output.wanted(state(card(index=0), card(index=5))))
        found = json.loads(real_api.kubectl("-n", "npu", "get", "nodefeature", f"npu-agent-{node}", "-o", "json"))
        assert found["metadata"]["labels"] == {"nfd.node.kubernetes.io/node-name": node}
        assert [owner["name"] for owner in found["metadata"]["ownerReferences"]] == ["feature-pod"]
        assert found["spec"]["labels"]["furiosa.ai/npu.count"] == "2"
        elements = found["spec"]["features"]["instances"]["npu-agent.accelerator"]["elements"]
        assert [element["attributes"]["numa-node"] for element in elements] == ["0", "1"]
        api.asked.clear()
        await output.bring(output.wanted(state(card(index=0), card(index=5))))
        assert api.asked == ["GET"]
        await output.bring(output.wanted(state()))
        found = json.loads(real_api.kubectl("-n", "npu", "get", "nodefeature", f"npu-agent-{node}", "-o", "json"))
        assert not found["spec"].get("labels")
    finally:
        real_api.kubectl("delete", "clusterrolebinding", "features")


async def test_a_token_that_is_no_longer_good_is_refused_and_the_next_one_is_taken(real_api: RealApiServer, node: str) -> None:
    tokens = ["no-such-token", "admin-token"]
    api = ApiServer(lambda: replace(real_api.access(), token=tokens[0]))
    with pytest.raises(ApiRefused) as refused:
        await bring(api, node, Wanted(Description()))
    assert refused.value.status == 401
    tokens.pop(0)
    await bring(api, node, Wanted(Description()))

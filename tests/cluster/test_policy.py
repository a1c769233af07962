"""What an agent may do to nodes by the chart's ClusterRole and admission policy, and what it may not."""

import json
from collections.abc import Awaitable, Iterator, Mapping
from typing import Any

import pytest
import yaml

from npu_agent.cluster.cleanup import clean
from npu_agent.cluster.client import APPLY, MERGE, ApiServer
from npu_agent.cluster.errors import ApiRefused
from npu_agent.cluster.labels import describe
from npu_agent.cluster.node import Wanted, bring
from npu_agent.cluster.outputs import NodeOutput
from npu_agent.cluster.taints import Taint
from tests.chart.rendering import Chart
from tests.cluster.api_server import RealApiServer
from tests.node_labels.cards import card, inventory, state

TAINT = Taint("furiosa.ai/npu", "exclusive", "NoSchedule")
VALUES = {"cluster": {"labels": "apply", "prefix": "npu.example.com", "taint": {"enabled": True}}}
NODE, OTHER = "policy-node", "policy-other"
OF_THE_AGENT = ("ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding")


@pytest.fixture(scope="module")
def installed(real_api: RealApiServer) -> Iterator[RealApiServer]:
    """The rights that the chart gives to agents, with one of them on the node."""
    rendering = Chart(real_api.programs / "helm").render(VALUES)
    objects = [item for item in rendering.objects if item["kind"] in OF_THE_AGENT]
    for name in (NODE, OTHER):
        real_api.add_node(name, unschedulable=False)
    real_api.kubectl("taint", "node", NODE, "example.com/theirs=x:NoSchedule")
    real_api.kubectl("annotate", "node", NODE, "example.com/theirs=stays")
    real_api.add_pod("policy-pod", NODE)
    if not real_api.has("serviceaccount", "npu-agent-cleanup"):
        real_api.kubectl("-n", "npu", "create", "serviceaccount", "npu-agent-cleanup")
    real_api.apply(*objects)
    real_api.wait_until_enforced(NODE, real_api.token("npu-agent"))
    yield real_api
    real_api.kubectl("delete", "-f", "-", said=yaml.safe_dump_all(objects))


@pytest.fixture
def agent(installed: RealApiServer) -> ApiServer:
    return installed.client(installed.token("npu-agent", pod="policy-pod"))


async def refusal(call: Awaitable[object]) -> str:
    with pytest.raises(ApiRefused) as refused:
        await call
    assert refused.value.status in (403, 422)
    return str(refused.value)


async def merge(api: ApiServer, node: str, patch: Mapping[str, Any]) -> Mapping[str, Any]:
    return await api.request("PATCH", f"/api/v1/nodes/{node}", body=patch, content_type=MERGE)


async def test_an_agent_labels_and_taints_its_own_node(installed: RealApiServer, agent: ApiServer) -> None:
    output = NodeOutput(agent, NODE, prefix="npu.example.com", taint=TAINT)
    for cards in ([card()], [card(), card(index=1)], []):
        assert await output.bring(output.wanted(state(*cards))) == ""
    assert installed.labels(NODE) == {"example.com/theirs": "stays"}
    await output.bring(output.wanted(state(card())))
    assert installed.labels(NODE)["npu.example.com/count"] == "1"
    assert [taint["key"] for taint in installed.taints(NODE)] == ["example.com/theirs", TAINT.key]


async def test_an_agent_changes_no_other_node(agent: ApiServer) -> None:
    assert "its own node alone" in await refusal(bring(agent, OTHER, Wanted(describe(inventory(card())))))


async def test_a_token_that_is_bound_to_no_pod_changes_nothing(installed: RealApiServer) -> None:
    unbound = installed.client(installed.token("npu-agent"))
    assert "the token of a pod" in await refusal(bring(unbound, NODE, Wanted(describe(inventory(card())), None)))


@pytest.mark.parametrize(
    ("patch", "said"),
    [
        ({"metadata": {"labels": {"example.com/theirs": "changed"}}}, "labels of"),
        ({"metadata": {"labels": {"example.com/theirs": None}}}, "labels of"),
        ({"metadata": {"labels": {"example.com/new": "x"}}}, "labels of"),
        ({"metadata": {"labels": {"node-role.kubernetes.io/control-plane": ""}}}, "labels of"),
        ({"metadata": {"labels": {"furiosa.ai.example.com/x": "x"}}}, "labels of"),
        ({"metadata": {"labels": {"furiosa.ai": "x"}}}, "labels of"),
        ({"metadata": {"annotations": {"example.com/theirs": "changed"}}}, "annotations of"),
        ({"metadata": {"annotations": {"example.com/theirs": None}}}, "annotations of"),
        ({"metadata": {"annotations": {"node.alpha.kubernetes.io/ttl": "1"}}}, "annotations of"),
        ({"metadata": {"finalizers": ["example.com/stay"]}}, "who a node belongs to"),
        ({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Pod", "name": "a", "uid": "b"}]}}, "who a node belongs to"),
        ({"spec": {"unschedulable": True}}, "nothing of a node's spec but taints"),
        ({"spec": {"providerID": "aws:///x"}}, "nothing of a node's spec but taints"),
        ({"spec": {"podCIDR": "10.1.0.0/24", "podCIDRs": ["10.1.0.0/24"]}}, "nothing of a node's spec but taints"),
        ({"spec": {"taints": None}}, "taints of"),
        ({"spec": {"taints": [{"key": "example.com/theirs", "value": "y", "effect": "NoSchedule"}]}}, "taints of"),
        ({"spec": {"taints": [{"key": "example.com/more", "effect": "NoExecute"}]}}, "taints of"),
    ],
)
async def test_an_agent_changes_nothing_else_of_its_node(
    installed: RealApiServer, agent: ApiServer, patch: Mapping[str, Any], said: str
) -> None:
    before = installed.node(NODE)
    assert said in await refusal(merge(agent, NODE, patch))
    assert installed.node(NODE)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_an_agent_applies_no_label_of_others_either(agent: ApiServer) -> None:
    body = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": NODE, "labels": {"example.com/theirs": "mine"}}}
    query = {"fieldManager": "npu-agent", "force": "true"}
    assert "labels of" in await refusal(agent.request("PATCH", f"/api/v1/nodes/{NODE}", query=query, body=body, content_type=APPLY))


async def test_an_agent_may_ask_for_nothing_else(agent: ApiServer) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "made"}}
    for method, path, body in (
        ("GET", "/api/v1/nodes", None),
        ("POST", "/api/v1/nodes", node),
        ("DELETE", f"/api/v1/nodes/{NODE}", None),
        ("GET", "/api/v1/namespaces/npu/secrets", None),
        ("GET", "/api/v1/pods", None),
        ("PATCH", f"/api/v1/nodes/{NODE}/status", {"status": {"capacity": {"furiosa.ai/npu": "9"}}}),
    ):
        kind = MERGE if method == "PATCH" else "application/json"
        assert "forbidden" in await refusal(agent.request(method, path, body=body, content_type=kind))


async def test_the_job_that_cleans_up_takes_what_is_ours_off_every_node_and_may_no_more(installed: RealApiServer, agent: ApiServer) -> None:
    output = NodeOutput(agent, NODE, prefix="npu.example.com", taint=TAINT)
    await output.bring(output.wanted(state(card())))
    role = next(item for item in Chart(installed.programs / "helm").render(VALUES).hook("pre-delete") if item["kind"] == "ClusterRole")
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "cleanup"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role["metadata"]["name"]},
        "subjects": [{"kind": "ServiceAccount", "name": "npu-agent-cleanup", "namespace": "npu"}],
    }
    installed.apply(role, binding)
    cleaner = installed.client(installed.token("npu-agent-cleanup"))
    assert f"taint {TAINT}" in (await clean(cleaner, NODE)).gone
    assert installed.labels(NODE) == {"example.com/theirs": "stays"}
    assert "labels of" in await refusal(merge(cleaner, OTHER, {"metadata": {"labels": {"example.com/theirs": None}}}))
    installed.kubectl("delete", "-f", "-", said=json.dumps(binding))


async def test_an_agent_that_is_to_taint_no_more_takes_its_taint_back(installed: RealApiServer, agent: ApiServer) -> None:
    tainting = NodeOutput(agent, NODE, prefix="npu.example.com", taint=TAINT)
    await tainting.bring(tainting.wanted(state(card())))
    labelling = NodeOutput(agent, NODE, prefix="npu.example.com", taint=None)
    await labelling.bring(labelling.wanted(state(card())))
    assert [taint["key"] for taint in installed.taints(NODE)] == ["example.com/theirs"]
    assert installed.labels(NODE)["npu.example.com/count"] == "1"


def test_the_policy_is_the_same_whether_nodes_are_tainted_or_not(real_api: RealApiServer) -> None:
    """Whoever switches taints off has the agents take theirs back."""
    chart = Chart(real_api.programs / "helm")
    policies = [
        chart.render({"cluster": {"labels": "apply", "taint": {"enabled": enabled}}}).one("ValidatingAdmissionPolicy")["spec"]
        for enabled in (False, True)
    ]
    assert policies[0] == policies[1]


def test_a_release_that_has_no_such_policies_gets_none(real_api: RealApiServer) -> None:
    rendering = Chart(real_api.programs / "helm").render(VALUES, "--kube-version", "1.29.0")
    assert not rendering.all_of("ValidatingAdmissionPolicy")
    assert rendering.all_of("ClusterRole")

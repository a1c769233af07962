"""What is left of the agent in a cluster when it is uninstalled: nothing."""

from tests.cluster.agent import CARDS, NPU_NODE, Agent
from tests.cluster.cluster import Cluster
from tests.scenarios.eventually import eventually


async def test_nothing_is_left_of_an_agent_that_is_uninstalled(cluster: Cluster, agent: Agent) -> None:
    await agent.upgrade(cluster={"labels": "apply", "taint": {"enabled": True}})
    await eventually(lambda: _taints(cluster), bool, within_s=60)
    await agent.is_up()
    await agent.uninstall()
    try:
        assert await _taints(cluster) == []
        for node in cluster.nodes:
            assert await agent.labels(node.node_name) == {}
            assert {path.name for path in (node.kubelet_dir / "device-plugins").iterdir()} <= {
                "kubelet.sock",
                "kubelet_internal_checkpoint",
            }
            assert await node.must("find", "/run/npu-agent", "-type", "s") == ""
        await eventually(lambda: agent.allocatable(NPU_NODE), lambda count: count == 0)
        kinds = "clusterroles,clusterrolebindings,validatingadmissionpolicies,validatingadmissionpolicybindings"
        assert "npu-agent" not in await cluster.kubectl("get", kinds, "-o", "name")
        ours = "serviceaccounts,configmaps,secrets,daemonsets,jobs,pods,roles,rolebindings"
        assert "npu-agent" not in await agent.kubectl("get", ours, "-o", "name")
    finally:
        await agent.install()
    await agent.is_up(cards=CARDS)


async def _taints(cluster: Cluster) -> list[str]:
    nodes = (await cluster.api.get("/api/v1/nodes"))["items"]
    return [taint["key"] for node in nodes for taint in node["spec"].get("taints", ())]

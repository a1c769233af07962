"""What the scheduler makes of cards on more nodes than there are machines for."""

from tests.cluster.agent import CARDS, NPU_NODE, RESOURCE, Agent
from tests.cluster.api import Object
from tests.cluster.cluster import Cluster
from tests.cluster.pods import deployment, pod_spec
from tests.scenarios.eventually import eventually

_TOLERATIONS = [{"key": "example.com/simulated", "operator": "Exists"}]


async def test_pods_fill_the_cards_of_all_nodes_and_the_rest_waits(cluster: Cluster, agent: Agent, namespace: str) -> None:
    spec = pod_spec(1, tolerations=_TOLERATIONS)
    async with cluster.simulated_node("simulated-1", {RESOURCE: "8"}), cluster.simulated_node("simulated-2", {RESOURCE: "0"}):
        await cluster.apply(deployment(namespace, "many", CARDS + 8 + 2, spec))

        async def bound() -> list[str]:
            pods: list[Object] = (await cluster.api.get(f"/api/v1/namespaces/{namespace}/pods"))["items"]
            return sorted(pod["spec"]["nodeName"] for pod in pods if "nodeName" in pod["spec"])

        expected = [NPU_NODE] * CARDS + ["simulated-1"] * 8
        await eventually(bound, lambda nodes: nodes == expected, within_s=30)
        await cluster.kubectl("-n", namespace, "delete", "deployment/many")

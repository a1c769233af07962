"""What a user does first: look at the node, and run something with a card."""

from tests.cluster.agent import CARDS, CPU_NODE, NAME, NPU_NODE, RESOURCE, Agent
from tests.cluster.cluster import Cluster
from tests.cluster.pods import job, pod_spec
from tests.scenarios.eventually import eventually


async def test_a_node_with_cards_has_them_in_its_description_and_one_without_has_zero(cluster: Cluster, agent: Agent) -> None:
    described = (await cluster.kubectl("describe", "node", NPU_NODE)).splitlines()
    assert [line.split() for line in described if f" {RESOURCE}:" in line][:2] == [[f"{RESOURCE}:", str(CARDS)]] * 2
    await eventually(lambda: agent.allocatable(CPU_NODE), lambda seen: seen == 0)


async def test_a_node_with_cards_says_in_its_labels_what_they_are_and_one_without_has_none(cluster: Cluster, agent: Agent) -> None:
    labels = await eventually(lambda: agent.labels(NPU_NODE), bool, within_s=20)
    assert labels["npu-agent.io/count"] == labels["furiosa.ai/npu.count"] == str(CARDS)
    assert labels["npu-agent.io/rngd.product"] == labels["furiosa.ai/npu.product"] == "rngd"
    described = await cluster.kubectl("describe", "node", NPU_NODE)
    assert all(f"{name}={value}" in described for name, value in labels.items())
    assert await agent.labels(CPU_NODE) == {}


async def test_a_job_gets_a_card_whose_nodes_it_opens_and_is_done(cluster: Cluster, agent: Agent, namespace: str) -> None:
    command = ["sh", "-c", "ls /dev/rngd && for node in /dev/rngd/*; do : <> $node || exit 1; done"]
    await cluster.apply(job(namespace, "one", pod_spec(1, command=command)))
    await cluster.kubectl("-n", namespace, "wait", "--for=condition=Complete", "job/one", "--timeout=50s")
    nodes = {f"/dev/rngd/{name}" for name in (await cluster.kubectl("-n", namespace, "logs", "job/one")).split()}
    assert nodes in [set(card.nodes) for card in cluster.cards.cards.values()]
    (pod,) = (await cluster.api.get(f"/api/v1/namespaces/{namespace}/pods"))["items"]
    assert pod["spec"]["nodeName"] == NPU_NODE


async def test_the_agent_has_no_power_on_its_node(cluster: Cluster, agent: Agent) -> None:
    """What the kernel says of its process."""
    status = await agent.process_status(cluster.npu_node)
    assert int(status["CapEff"], 16) == int(status["CapPrm"], 16) == int(status["CapBnd"], 16) == 0
    assert status["Seccomp"] == "2"
    assert status["NoNewPrivs"] == "1"


async def test_helm_test_gets_a_card(cluster: Cluster, agent: Agent) -> None:
    assert "Phase:          Succeeded" in await cluster.helm("test", NAME, "--namespace", agent.namespace)


async def test_the_agent_lists_its_cards_in_its_pod(cluster: Cluster, agent: Agent) -> None:
    assert {card["id"] for card in (await agent.listing())["accelerators"]} == cluster.cards.cards.keys()
    assert (await agent.listing(CPU_NODE))["accelerators"] == []

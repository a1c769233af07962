"""The mistakes that a new user is most likely to make, and what tells them."""

from tests.cluster.agent import CARDS, CPU_NODE, NPU_NODE, RESOURCE, VALUES, Agent
from tests.cluster.api import Object
from tests.cluster.cluster import Cluster
from tests.cluster.pods import pod, pod_spec, runs, why_pending
from tests.scenarios.eventually import eventually


async def test_a_resource_that_is_named_wrongly_keeps_the_pod_pending_and_the_scheduler_names_it(
    cluster: Cluster, agent: Agent, namespace: str
) -> None:
    await cluster.apply(pod(namespace, "one", pod_spec(1, resource="furiosa.ai/rngd")))
    assert "2 Insufficient furiosa.ai/rngd" in await why_pending(cluster, namespace, "one")


async def test_more_cards_than_a_node_has_keep_the_pod_pending(cluster: Cluster, agent: Agent, namespace: str) -> None:
    await cluster.apply(pod(namespace, "one", pod_spec(CARDS + 1)))
    assert f"2 Insufficient {RESOURCE}" in await why_pending(cluster, namespace, "one")


async def test_a_node_without_a_card_is_told_by_the_scheduler_by_kubelet_and_by_the_agent(
    cluster: Cluster, agent: Agent, namespace: str
) -> None:
    await cluster.apply(pod(namespace, "chosen", pod_spec(1, nodeSelector={"kubernetes.io/hostname": CPU_NODE})))
    assert f"1 Insufficient {RESOURCE}" in await why_pending(cluster, namespace, "chosen")
    # A pod that names its node goes past the scheduler.
    await cluster.apply(pod(namespace, "forced", pod_spec(1, nodeName=CPU_NODE)))

    async def message() -> str:
        status = (await cluster.api.get(f"/api/v1/namespaces/{namespace}/pods/forced"))["status"]
        return f"{status.get('reason', '')}: {status.get('message', '')}" if status.get("phase") == "Failed" else ""

    said = await eventually(message, bool, within_s=30)
    assert said.startswith("UnexpectedAdmissionError: ")
    assert f"no healthy devices present; cannot allocate unhealthy devices {RESOURCE}" in said
    assert "found 0 accelerators" in await agent.logs(CPU_NODE)


async def test_a_taint_that_is_not_tolerated_keeps_the_pod_pending_until_it_is(cluster: Cluster, agent: Agent, namespace: str) -> None:
    await cluster.kubectl("taint", "node", NPU_NODE, f"{RESOURCE}=exclusive:NoSchedule")
    try:
        await cluster.apply(pod(namespace, "one", pod_spec(1)))
        said = await why_pending(cluster, namespace, "one")
        assert "1 node(s) had untolerated taint" in said
        assert f"1 Insufficient {RESOURCE}" in said
        tolerations = [{"key": RESOURCE, "operator": "Exists", "effect": "NoSchedule"}]
        await cluster.apply(pod(namespace, "two", pod_spec(1, tolerations=tolerations)))
        assert [pod["metadata"]["name"] for pod in await runs(cluster, namespace, 1)] == ["two"]
    finally:
        await cluster.kubectl("taint", "node", NPU_NODE, f"{RESOURCE}:NoSchedule-")


async def test_an_image_that_is_not_there_is_told_by_the_pod_and_stops_the_update_at_the_first_node(cluster: Cluster, agent: Agent) -> None:
    await agent.upgrade(image={**VALUES["image"], "tag": "0.0.0"})
    try:
        said = await _events_of_the_new_pod(agent, "ErrImageNeverPull")
        assert 'Container image "localhost/npu-agent:0.0.0" is not present with pull policy of Never' in said
        assert sum(pod["status"]["phase"] == "Running" for pod in await agent.pods()) == 1
    finally:
        await agent.rollback()
    await agent.is_up()


async def test_a_wrong_folder_of_kubelet_is_told_by_the_pod_and_if_it_exists_by_the_agent(cluster: Cluster, agent: Agent) -> None:
    folder = "/run/other/kubelet/device-plugins"
    await agent.upgrade(kubelet={"devicePluginsPath": folder})
    try:
        said = await _events_of_the_new_pod(agent, "FailedMount")
        assert f"hostPath type check failed: {folder} is not a directory" in said
        for node in cluster.nodes:
            await node.mount("mkdir", "-p", folder)
        assert "HTTP probe failed with statuscode: 503" in await _events_of_the_new_pod(agent, "Readiness probe failed")
        log = await agent.logs((await _new_pod(agent))["spec"]["nodeName"])
        assert "kubelet's socket is not in /var/lib/kubelet/device-plugins: kubelet has not started, or has another folder" in log
    finally:
        await agent.rollback()
    await agent.is_up()


async def _events_of_the_new_pod(agent: Agent, text: str) -> str:
    """Return what `kubectl describe` says of the newest pod of the agent, when it has that text."""

    async def described() -> str:
        return await agent.kubectl("describe", "pod", (await _new_pod(agent))["metadata"]["name"])

    return await eventually(described, lambda said: text in said, within_s=90)


async def _new_pod(agent: Agent) -> Object:
    newest: Object = max(await agent.pods(), key=lambda pod: pod["metadata"]["creationTimestamp"])
    return newest

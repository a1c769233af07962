"""The examples of docs/examples, each as it stands and each with what it promises."""

import pytest

from tests.cluster.agent import CARDS, NPU_NODE, RESOURCE, Agent
from tests.cluster.api import Object, Refused
from tests.cluster.cluster import Cluster
from tests.cluster.devices import held
from tests.cluster.examples import FOLDER, apply_example, example
from tests.cluster.pods import deployment, pod, pod_spec, running, runs, why_pending
from tests.scenarios.eventually import eventually

INSUFFICIENT = f"Insufficient {RESOURCE}"


async def test_a_pod_gets_one_card(cluster: Cluster, agent: Agent, namespace: str) -> None:
    await apply_example(cluster, "pod.yaml", namespace)
    await runs(cluster, namespace, 1)
    assert [len(devices) for devices in (await held(cluster.npu_node, namespace)).values()] == [1]


async def test_the_pods_of_a_job_get_a_card_each(cluster: Cluster, agent: Agent, namespace: str) -> None:
    await apply_example(cluster, "job.yaml", namespace)
    await _complete(cluster, namespace, "npu-job")
    opened = {frozenset(text.split("opened ")) for text in await _logs(cluster, namespace)}
    assert len(opened) == 3


async def test_a_job_of_a_cron_job_gets_a_card(cluster: Cluster, agent: Agent, namespace: str) -> None:
    await apply_example(cluster, "cronjob.yaml", namespace)
    await cluster.kubectl("-n", namespace, "create", "job", "tonight", "--from=cronjob/npu-nightly")
    await _complete(cluster, namespace, "tonight")
    assert "opened /dev/rngd/" in "".join(await _logs(cluster, namespace))


async def test_a_deployment_of_more_than_there_is_waits_for_what_is_freed(cluster: Cluster, agent: Agent, namespace: str) -> None:
    await apply_example(cluster, "pod.yaml", namespace)
    await runs(cluster, namespace, 1)
    await apply_example(cluster, "deployment.yaml", namespace)
    await cluster.kubectl("-n", namespace, "scale", "deployment/npu-deployment", f"--replicas={CARDS}")
    await runs(cluster, namespace, CARDS)
    pending = [pod["metadata"]["name"] for pod in await _pods(cluster, namespace) if pod["status"]["phase"] == "Pending"]
    assert len(pending) == 1
    assert INSUFFICIENT in await why_pending(cluster, namespace, pending[0])
    await cluster.kubectl("-n", namespace, "delete", "pod", "npu-pod", "--grace-period=1")
    assert pending[0] in [pod["metadata"]["name"] for pod in await runs(cluster, namespace, CARDS)]


async def test_a_taint_keeps_pods_away_that_do_not_tolerate_it(cluster: Cluster, agent: Agent, namespace: str) -> None:
    await cluster.kubectl("taint", "node", NPU_NODE, f"{RESOURCE}=exclusive:NoSchedule")
    try:
        await apply_example(cluster, "pod.yaml", namespace)
        await apply_example(cluster, "toleration.yaml", namespace)
        assert "untolerated taint" in await why_pending(cluster, namespace, "npu-pod")
        (tolerating,) = await runs(cluster, namespace, 1)
        assert tolerating["metadata"]["name"] == "npu-tolerating"
    finally:
        await cluster.kubectl("taint", "node", NPU_NODE, f"{RESOURCE}=exclusive:NoSchedule-")


async def test_pods_choose_nodes_by_the_labels_of_the_agent(cluster: Cluster, agent: Agent, namespace: str) -> None:
    await eventually(lambda: agent.labels(NPU_NODE), bool, within_s=20)
    await apply_example(cluster, "node-selector.yaml", namespace)
    await apply_example(cluster, "affinity.yaml", namespace)
    assert {pod["spec"]["nodeName"] for pod in await runs(cluster, namespace, 2)} == {NPU_NODE}
    (other,) = example("node-selector.yaml", namespace)
    other["metadata"]["name"] = "npu-other"
    other["spec"]["nodeSelector"]["furiosa.ai/npu.product"] = "warboy"
    await cluster.apply(other)
    assert "didn't match Pod's node affinity/selector" in await why_pending(cluster, namespace, "npu-other")


async def test_a_quota_holds_for_cards(cluster: Cluster, agent: Agent, namespace: str) -> None:
    await apply_example(cluster, "quota.yaml", namespace)
    await eventually(lambda: cluster.api.get(f"/api/v1/namespaces/{namespace}/resourcequotas/npu-quota"), _is_counted)
    for name in ("one", "two"):
        await _create(cluster, pod(namespace, name, pod_spec(1)))
    with pytest.raises(Refused, match=f"exceeded quota: npu-quota, requested: requests.{RESOURCE}=1, used: requests.{RESOURCE}=2"):
        await _create(cluster, pod(namespace, "three", pod_spec(1)))


async def test_a_pod_of_a_higher_priority_takes_the_card_of_another(cluster: Cluster, agent: Agent, namespace: str) -> None:
    await cluster.apply(deployment(namespace, "all", CARDS, pod_spec(1)))
    await runs(cluster, namespace, CARDS)
    try:
        await apply_example(cluster, "priority.yaml", namespace)
        await eventually(lambda: _phase(cluster, namespace, "npu-urgent"), lambda phase: phase == "Running", within_s=60)
    finally:
        await cluster.kubectl("delete", "priorityclass", "npu-urgent")


async def test_a_job_whose_card_fails_goes_on_with_another_one(cluster: Cluster, agent: Agent, namespace: str) -> None:
    await apply_example(cluster, "retry.yaml", namespace)
    (first,) = await runs(cluster, namespace, 1)
    ((uuid,),) = (await held(cluster.npu_node, namespace)).values()
    card = cluster.cards.cards[uuid]
    cluster.cards.tree.set(card, "device_state", "1\n")
    try:
        await eventually(lambda: agent.allocatable(NPU_NODE), lambda count: count == CARDS - 1)
        # What the program of the example would do by itself if it read from a real card.
        await cluster.kubectl("-n", namespace, "exec", first["metadata"]["name"], "--", "sh", "-c", "kill -TERM 1")
        (second,) = await eventually(
            lambda: _running_but(cluster, namespace, first["metadata"]["name"]), lambda pods: len(pods) == 1, within_s=60
        )
        assert (await held(cluster.npu_node, namespace))[second["metadata"]["name"]].isdisjoint({uuid})
    finally:
        cluster.cards.tree.set(card, "device_state", "0\n")


@pytest.mark.parametrize("name", ["build", "warboy", "rngd"])
async def test_the_pods_of_the_pipeline_are_what_the_api_server_takes(cluster: Cluster, namespace: str, name: str) -> None:
    (template,) = example(f"jenkins/{name}-pod.yaml", namespace)
    template["metadata"]["name"] = "named-by-jenkins"
    made = await _create(cluster, template, "?dryRun=All&fieldValidation=Strict")
    limits = made["spec"]["containers"][0]["resources"].get("limits")
    assert limits == {"build": None, "warboy": {"furiosa.ai/warboy": "1"}, "rngd": {"furiosa.ai/rngd": "1"}}[name]


async def test_code_server_is_what_the_api_server_takes(cluster: Cluster, namespace: str) -> None:
    """Its image cannot be had without a registry of images, so it is not started here."""
    found = example("code-server/code-server.yaml", namespace)
    for kind, path in (("Deployment", "/apis/apps/v1"), ("Service", "/api/v1")):
        (one,) = [each for each in found if each["kind"] == kind]
        where = f"{path}/namespaces/{namespace}/{kind.lower()}s?dryRun=All&fieldValidation=Strict"
        await cluster.api.request("POST", where, one)


def test_the_page_of_examples_names_each() -> None:
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    files = {path.relative_to(FOLDER).as_posix() for path in FOLDER.rglob("*.yaml") if path.parent.name != "jenkins"}
    assert {name for name in files if f"]({name})" not in page} == set()


def test_the_pipeline_names_files_that_are_there() -> None:
    pipeline = (FOLDER / "jenkins" / "Jenkinsfile").read_text(encoding="utf-8")
    named = [line.split("'")[1] for line in pipeline.splitlines() if "yamlFile" in line]
    assert named == ["jenkins/build-pod.yaml", "jenkins/warboy-pod.yaml", "jenkins/rngd-pod.yaml"]
    assert all((FOLDER / name).is_file() for name in named)


async def _complete(cluster: Cluster, namespace: str, job: str) -> None:
    await cluster.kubectl("-n", namespace, "wait", "--for=condition=Complete", f"job/{job}", "--timeout=60s", within_s=70)


async def _pods(cluster: Cluster, namespace: str) -> list[Object]:
    pods: list[Object] = (await cluster.api.get(f"/api/v1/namespaces/{namespace}/pods"))["items"]
    return pods


async def _logs(cluster: Cluster, namespace: str) -> list[str]:
    """Return what each pod of a namespace said."""
    names = [pod["metadata"]["name"] for pod in await _pods(cluster, namespace)]
    return [await cluster.kubectl("-n", namespace, "logs", name) for name in names]


async def _phase(cluster: Cluster, namespace: str, name: str) -> str:
    return str((await cluster.api.get(f"/api/v1/namespaces/{namespace}/pods/{name}"))["status"]["phase"])


async def _create(cluster: Cluster, made: Object, options: str = "") -> Object:
    return await cluster.api.request("POST", f"/api/v1/namespaces/{made['metadata']['namespace']}/pods{options}", made)


async def _running_but(cluster: Cluster, namespace: str, name: str) -> list[Object]:
    return [pod for pod in await running(cluster, namespace) if pod["metadata"]["name"] != name]


def _is_counted(quota: Object) -> bool:
    return f"requests.{RESOURCE}" in quota.get("status", {}).get("used", {})

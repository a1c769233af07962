"""The thin path through a whole cluster: the agent in a DaemonSet, accelerators in the description of a node, and a Job with one."""

from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from tests.cluster import checkout
from tests.cluster.cluster import CARDS, CPU_NODE, NPU_NODE, Cluster
from tests.e2e import image
from tests.scenarios.eventually import eventually

RESOURCE = "furiosa.ai/npu"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def agent(cluster: Cluster) -> AsyncIterator[str]:
    """The agent of the checkout on every node; its namespace is returned."""
    async with cluster.namespace() as namespace:
        await cluster.apply(checkout.daemon_set(namespace))
        await cluster.kubectl("-n", namespace, "rollout", "status", f"daemonset/{checkout.NAME}", "--timeout=60s", within_s=70)
        yield namespace


async def allocatable(cluster: Cluster, node: str) -> str | None:
    found: str | None = (await cluster.node_status(node))["allocatable"].get(RESOURCE)
    return found


async def test_a_node_with_cards_has_them_in_its_description_and_one_without_has_zero(cluster: Cluster, agent: str) -> None:
    await eventually(lambda: allocatable(cluster, NPU_NODE), lambda seen: seen == str(CARDS))
    described = (await cluster.kubectl("describe", "node", NPU_NODE)).splitlines()
    assert [line.split() for line in described if RESOURCE in line][:2] == [[f"{RESOURCE}:", str(CARDS)]] * 2
    assert await allocatable(cluster, CPU_NODE) == "0"


async def test_a_job_gets_a_card_and_is_done(cluster: Cluster, agent: str) -> None:
    await eventually(lambda: allocatable(cluster, NPU_NODE), lambda seen: seen == str(CARDS))
    await cluster.apply(_job(agent))
    await cluster.kubectl("-n", agent, "wait", "--for=condition=Complete", "job/one", "--timeout=50s")
    opened = (await cluster.kubectl("-n", agent, "logs", "job/one")).split()
    assert len([path for path in opened if path.endswith("mgmt")]) == 1
    pod, *_ = (await cluster.api.get(f"/api/v1/namespaces/{agent}/pods?labelSelector=job-name%3Done"))["items"]
    assert pod["spec"]["nodeName"] == NPU_NODE


def _job(namespace: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": image.REFERENCE,
        "imagePullPolicy": "Never",
        "command": ["sh", "-c", "ls /dev/rngd && for node in /dev/rngd/*; do : <> $node || exit 1; done"],
        "resources": {"limits": {RESOURCE: "1"}},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "one", "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {"spec": {"restartPolicy": "Never", "containers": [container]}}},
    }

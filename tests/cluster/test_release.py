"""What helm tells people, and what the pods of the release may do to their node."""

import json

import pytest

from tests.chart.rendering import Chart
from tests.cluster.agent import CHART, Agent
from tests.cluster.api import Refused
from tests.cluster.cluster import Cluster
from tests.cluster.node import ClusterNode
from tests.scenarios.versions import as_numbers


async def notes(cluster: Cluster, namespace: str, **values: object) -> str:
    """Return what helm would say after installing the chart into a namespace."""
    file = cluster.control.run / "notes.json"
    file.write_text(json.dumps(values))
    options = ("--namespace", namespace, "--values", str(file), "--dry-run=server")
    return (await cluster.helm("install", "npu-agent", str(CHART), *options)).partition("NOTES:")[2]


async def test_it_is_said_how_many_nodes_match_and_what_to_run_next(cluster: Cluster, namespace: str) -> None:
    said = await notes(cluster, namespace)
    assert "Of the 2 nodes of this cluster 2 match." in said
    assert "(It does: nothing else is enforced there.)" in said
    assert f"helm test -n {namespace} npu-agent" in said


async def test_it_is_said_aloud_when_no_node_matches(cluster: Cluster, namespace: str) -> None:
    none = "Of the 2 nodes of this cluster 0 match: NO AGENT WILL RUN ANYWHERE."
    assert none in await notes(cluster, namespace, nodeSelector={"example.org/npu": "yes"})
    assert none in await notes(cluster, namespace, nfd={"enabled": True})


async def test_it_is_said_aloud_when_the_namespace_allows_no_volumes_of_the_node(cluster: Cluster, namespace: str) -> None:
    await cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=baseline", "--overwrite")
    assert "(IT DOES NOT: it enforces baseline, and no pod will be made.)" in await notes(cluster, namespace)


async def test_nodes_are_not_looked_at_where_that_is_not_wanted(cluster: Cluster, namespace: str) -> None:
    said = await notes(cluster, namespace, notes={"lookup": False})
    assert "nodes of this cluster" not in said
    assert "What to run next:" in said


async def test_pod_security_has_nothing_against_the_pods_but_their_volumes(cluster: Cluster, namespace: str) -> None:
    await cluster.kubectl("label", "namespace", namespace, "pod-security.kubernetes.io/enforce=baseline", "--overwrite")
    spec = Chart(cluster.programs / "helm").render().pod | {"serviceAccountName": "default"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "agent", "namespace": namespace}, "spec": spec}
    with pytest.raises(Refused) as refused:
        await cluster.api.request("POST", f"/api/v1/namespaces/{namespace}/pods", pod)
    volumes = 'hostPath volumes (volumes "device-plugins", "pod-resources", "runtime", "sys", "dev")'
    assert f'violates PodSecurity "baseline:latest": {volumes}' in str(refused.value)


async def test_nothing_of_the_node_can_be_written_to_but_two_folders(cluster: Cluster, agent: Agent, kubernetes: str) -> None:
    """As its process sees its mounts, from Kubernetes 1.31 on those below /sys and /dev too."""
    mounts = await mounts_of(agent, cluster.npu_node)
    # What every container has is the runtime's.
    ours = {point: options for point, options in mounts.items() if not point.startswith(("/proc", "/sys", "/dev", "/etc/hosts"))}
    assert {"/", "/host/sys", "/host/dev", "/etc/npu-agent", "/var/lib/kubelet/pod-resources"} < ours.keys()
    below = {point for point in ours if point.startswith(("/host/sys/", "/host/dev/"))}
    assert below
    writable = {point for point, options in ours.items() if "ro" not in options}
    if as_numbers(kubernetes) < (1, 31):
        writable -= below
    assert writable == {"/run/npu-agent", "/var/lib/kubelet/device-plugins"}


async def mounts_of(agent: Agent, node: ClusterNode) -> dict[str, list[str]]:
    """Return the options of each mount that the agent's process sees, by its place."""
    lines = (await agent.process_file(node, "mountinfo")).splitlines()
    return {fields[4]: fields[5].split(",") for fields in (line.split(" ") for line in lines)}

"""Objects that people write, as mappings, and what becomes of them."""

from collections.abc import Mapping, Sequence
from typing import Any

from tests.cluster.api import Object
from tests.cluster.cluster import Cluster
from tests.e2e import image
from tests.scenarios.eventually import eventually

RUN_FOREVER = ("sh", "-c", "trap 'exit 0' TERM; sleep 2147483647 & wait")
_POD_S = 60.0


def pod_spec(npus: int, *, resource: str = "furiosa.ai/npu", command: Sequence[str] = RUN_FOREVER, **fields: Any) -> dict[str, Any]:
    """Return the spec of a pod whose only container, "main", gets that many devices. Everything else is a field of the spec."""
    container = {
        "name": "main",
        "image": image.REFERENCE,
        "imagePullPolicy": "Never",
        "command": list(command),
        "resources": {"limits": {resource: str(npus)} if npus else {}},
    }
    return {"terminationGracePeriodSeconds": 2, "containers": [container], **fields}


def pod(namespace: str, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": namespace}, "spec": spec}


def job(namespace: str, name: str, spec: Mapping[str, Any], **fields: Any) -> dict[str, Any]:
    template = {"spec": {"restartPolicy": "Never", **spec}}
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"backoffLimit": 0, "template": template, **fields}}


def deployment(namespace: str, name: str, replicas: int, spec: Mapping[str, Any]) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        },
    }


async def running(cluster: Cluster, namespace: str) -> list[Object]:
    """Return the pods of a namespace that run and are not on their way out."""
    pods = (await cluster.api.get(f"/api/v1/namespaces/{namespace}/pods"))["items"]
    return [pod for pod in pods if pod["status"].get("phase") == "Running" and "deletionTimestamp" not in pod["metadata"]]


async def runs(cluster: Cluster, namespace: str, count: int) -> list[Object]:
    """Return the pods of a namespace when just that many run."""
    return await eventually(lambda: running(cluster, namespace), lambda pods: len(pods) == count, within_s=_POD_S)


async def why_pending(cluster: Cluster, namespace: str, name: str) -> str:
    """Return what the scheduler says of a pod that it has found no node for, when it says so."""

    async def said() -> str:
        status = (await cluster.api.get(f"/api/v1/namespaces/{namespace}/pods/{name}"))["status"]
        return "".join(condition.get("message", "") for condition in status.get("conditions", ()) if condition["type"] == "PodScheduled")

    return await eventually(said, bool, within_s=_POD_S)

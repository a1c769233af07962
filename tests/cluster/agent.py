"""The agent as it is installed in a cluster of the tests, by its chart and with the image just built, and what is seen of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npu_agent import __version__
from tests.cluster.api import Object
from tests.cluster.cluster import CARDS, CPU_NODE, NPU_NODE, Cluster
from tests.cluster.node import ClusterNode
from tests.scenarios.eventually import eventually

RESOURCE = "furiosa.ai/npu"
START_S = 60.0

_ROOT = Path(__file__).parents[2]
CHART = _ROOT / "container" / "chart" / "npu-agent"
IMAGE = _ROOT / "dist" / "npu-agent-image.tar"
NAME = "npu-agent"

# The nodes have the image already, and can reach no registry.
_IMAGE_VALUES = {"repository": "localhost/npu-agent", "tag": __version__, "pullPolicy": "Never"}
VALUES: Mapping[str, Any] = {"image": _IMAGE_VALUES, "test": {"image": {"pullPolicy": "Never"}}, "cluster": {"labels": "apply"}}
"""The values of the chart that are not its defaults."""


@dataclass(frozen=True, slots=True)
class Agent:
    """The release "npu-agent" in the namespace `namespace` of `cluster`: a DaemonSet of that name with a pod on every node."""

    cluster: Cluster
    namespace: str = "npu-agent-system"

    async def install(self, **values: Any) -> str:
        """Install it with further values; return what helm tells the user."""
        return await self._helm("install", "--create-namespace", values=values)

    async def upgrade(self, **values: Any) -> str:
        """Give it other values than those of `install`; return what helm tells the user, when all has been asked for."""
        return await self._helm("upgrade", values=values)

    async def rollback(self) -> None:
        """Go back to what was before the last upgrade."""
        await self.cluster.helm("rollback", NAME, "--namespace", self.namespace)

    async def uninstall(self) -> None:
        """Take it away; return when none of its pods is left."""
        await self.cluster.helm("uninstall", NAME, "--namespace", self.namespace)
        await eventually(self.pods, lambda pods: not pods, within_s=START_S)

    async def is_up(self, *, cards: int = CARDS) -> None:
        """Return when it runs on every node and kubelet has as many healthy cards of it."""
        status = ("rollout", "status", f"daemonset/{NAME}", f"--timeout={START_S:.0f}s")
        await self.kubectl(*status, within_s=START_S + 10)
        await eventually(lambda: self.allocatable(NPU_NODE), lambda seen: seen == cards, within_s=START_S)

    async def kubectl(self, *argv: str, within_s: float = 60.0) -> str:
        """Run kubectl in its namespace."""
        return await self.cluster.kubectl("--namespace", self.namespace, *argv, within_s=within_s)

    async def allocatable(self, node: str) -> int | None:
        """Return how many devices `kubectl get node` says that pods can have, None if it does not know the resource."""
        count = (await self.cluster.node_status(node))["allocatable"].get(RESOURCE)
        return None if count is None else int(count)

    async def labels(self, node: str) -> Mapping[str, str]:
        """Return the labels of a node that are about cards."""
        labels = (await self.cluster.api.get(f"/api/v1/nodes/{node}"))["metadata"]["labels"]
        return {name: value for name, value in labels.items() if name.startswith(("furiosa.ai/", "npu-agent.io/"))}

    async def pod(self, node: str = NPU_NODE) -> Object:
        """Return its pod on a node, the newest where an older one is on its way out."""
        pods = [pod for pod in await self.pods() if pod["spec"].get("nodeName") == node]
        assert pods, f"the agent has no pod on {node}"
        newest: Object = max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])
        return newest

    async def pods(self) -> list[Object]:
        """Return its pods, those on their way out too."""
        selector = f"labelSelector=app.kubernetes.io%2Finstance%3D{NAME},app.kubernetes.io%2Fname%3D{NAME}"
        pods: list[Object] = (await self.cluster.api.get(f"/api/v1/namespaces/{self.namespace}/pods?{selector}"))["items"]
        return pods

    async def logs(self, node: str = NPU_NODE) -> str:
        return await self.kubectl("logs", (await self.pod(node))["metadata"]["name"])

    async def says(self, text: str, node: str = NPU_NODE) -> None:
        """Return when its log on a node has that text."""
        await eventually(lambda: self.logs(node), lambda said: text in said, within_s=START_S)

    async def listing(self, node: str = NPU_NODE) -> Any:
        """Return the data of `npu-agent list` on a node."""
        name = (await self.pod(node))["metadata"]["name"]
        return json.loads(await self.kubectl("exec", name, "--", "npu-agent", "list", "-o", "json"))

    async def process_status(self, node: ClusterNode) -> Mapping[str, str]:
        """Return what the kernel says of its process on a node, the file /proc/1/status of its container, by the names of the lines."""
        lines = (await self.process_file(node, "status")).splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    async def process_file(self, node: ClusterNode, name: str) -> str:
        """Return a file of its process on a node, /proc/1/NAME of its container."""
        container, *_ = (await self.pod(node.node_name))["status"]["containerStatuses"]
        status, tasks = await node.ctr("task", "list")
        assert status == 0, tasks
        processes = dict(line.split()[:2] for line in tasks.splitlines())
        process = processes[container["containerID"].partition("://")[2]]
        return await node.must("nsenter", f"--target={node.first_process}", "--mount", "--", "cat", f"/proc/{process}/{name}")

    async def _helm(self, command: str, *options: str, values: Mapping[str, Any]) -> str:
        file = self.cluster.control.run / "values.json"
        file.write_text(json.dumps({**VALUES, **values}))  # which is YAML too
        return await self.cluster.helm(command, NAME, str(CHART), "--namespace", self.namespace, "--values", str(file), *options)


__all__ = ["CARDS", "CPU_NODE", "NAME", "NPU_NODE", "RESOURCE", "VALUES", "Agent"]

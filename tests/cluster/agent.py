"""The agent as it is installed in a cluster of the tests, and what is seen of it from there."""

import json
from dataclasses import dataclass
from typing import Any

from tests.cluster.api import Object
from tests.cluster.cluster import CARDS, CPU_NODE, NPU_NODE, Cluster
from tests.scenarios.eventually import eventually

RESOURCE = "furiosa.ai/npu"
START_S = 60.0


@dataclass(frozen=True, slots=True)
class Agent:
    """The DaemonSet `name` in `namespace`, which runs the agent on every node of `cluster`. `labels` selects its pods."""

    cluster: Cluster
    namespace: str
    name: str
    labels: str

    async def is_up(self) -> None:
        """Return when it runs on every node and kubelet has every healthy card of it."""
        status = ("rollout", "status", f"daemonset/{self.name}", f"--timeout={START_S:.0f}s")
        await self.cluster.kubectl("-n", self.namespace, *status, within_s=START_S + 10)
        await eventually(lambda: self.allocatable(NPU_NODE), lambda seen: seen == CARDS, within_s=START_S)

    async def allocatable(self, node: str) -> int | None:
        """Return how many devices `kubectl get node` says that pods can have, None if it does not know the resource."""
        count = (await self.cluster.node_status(node))["allocatable"].get(RESOURCE)
        return None if count is None else int(count)

    async def pod(self, node: str) -> Object:
        """Return the pod of the agent on a node, the newest where an older one is on its way out."""
        selector = f"labelSelector={self.labels.replace('=', '%3D')}&fieldSelector=spec.nodeName%3D{node}"
        pods = (await self.cluster.api.get(f"/api/v1/namespaces/{self.namespace}/pods?{selector}"))["items"]
        assert pods, f"the agent has no pod on {node}"
        newest: Object = max(pods, key=lambda pod: pod["metadata"]["creationTimestamp"])
        return newest

    async def logs(self, node: str = NPU_NODE) -> str:
        return await self.cluster.kubectl("-n", self.namespace, "logs", (await self.pod(node))["metadata"]["name"])

    async def listing(self, node: str = NPU_NODE) -> Any:
        """Return the data of `npu-agent list` on a node."""
        name = (await self.pod(node))["metadata"]["name"]
        return json.loads(await self.cluster.kubectl("-n", self.namespace, "exec", name, "--", "npu-agent", "list", "-o", "json"))

    async def status_of_process(self, node: str = NPU_NODE) -> dict[str, str]:
        """Return what the kernel says of the agent's process on a node, /proc/PID/status, which no program in its container need read."""
        container, *_ = (await self.pod(node))["status"]["containerStatuses"]
        machine = next(machine for machine in self.cluster.nodes if machine.node_name == node)
        status, tasks = await machine.ctr("task", "list")
        assert status == 0, tasks
        processes = dict(line.split()[:2] for line in tasks.splitlines())
        process = processes[container["containerID"].partition("://")[2]]
        text = await machine.must("nsenter", f"--target={machine.first_process}", "--mount", "--", "cat", f"/proc/{process}/status")
        return {key: value.strip() for key, _, value in (line.partition(":") for line in text.splitlines())}

    async def upgrade(self) -> None:
        """Have every pod of it replaced, as a new version does; return when that has begun."""
        await self.cluster.kubectl("-n", self.namespace, "rollout", "restart", f"daemonset/{self.name}")


__all__ = ["CARDS", "CPU_NODE", "NPU_NODE", "RESOURCE", "Agent"]

"""A cluster of the tests: a control plane, a node with accelerators and one without, and what people use it with.

    async def test_something(cluster: Cluster) -> None:
        await cluster.apply(pod)                                   # an object, as a mapping
        await cluster.kubectl("wait", "--for=condition=Ready", "pod/one")
        await cluster.api.get("/api/v1/namespaces/default/pods/one")
        await cluster.npu_node.import_image(archive)               # of `docker save` or OCI; pods then say imagePullPolicy: Never

The fixture `cluster` (conftest.py) is one for the whole session; a test leaves no object behind (`cluster.namespace()` is a namespace
that goes with what is in it) and no process of its nodes ended. Pods have a network of their own, and reach the API server as
`kubernetes.default` is reached anywhere (10.96.0.1); there is no DNS. Any image must be given to the nodes first; `localhost/busybox:1`
(tests/e2e/image.py) is there.
"""

import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio

from tests.cluster.api import Api, Object
from tests.cluster.cards import Cards, insert_cards
from tests.cluster.control_plane import ControlPlane
from tests.cluster.node import ClusterNode
from tests.scenarios.eventually import eventually

NPU_NODE, CPU_NODE = "npu-node", "cpu-node"
CARDS = 5
# A node that is silent for 20 s is taken for dead here (control_plane.py).
_BEATS_EACH_S = 5.0
_WHAT_HAS_PODS = "cronjobs,jobs,deployments,daemonsets,statefulsets,replicasets,pods"


class Cluster:
    """Entered, its nodes are Ready. `programs` is the folder of all programs; `logs` keeps what they say."""

    def __init__(self, programs: Path, logs: Path) -> None:
        self.programs = programs
        self.control = ControlPlane(programs, logs / "control", node_names=[NPU_NODE, CPU_NODE])
        self.npu_node = ClusterNode(programs, logs / NPU_NODE, self.control, NPU_NODE, 1)
        self.cpu_node = ClusterNode(programs, logs / CPU_NODE, self.control, CPU_NODE, 2)
        self._stack = AsyncExitStack()
        self._cards: Cards | None = None

    async def __aenter__(self) -> Self:
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.control)
            async with anyio.create_task_group() as starting:
                for node in self.nodes:
                    starting.start_soon(stack.enter_async_context, node)
            # RNGD, since a family that is younger tells more of itself.
            self._cards = await insert_cards(self.npu_node, "rngd", CARDS)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stack.aclose()

    @property
    def nodes(self) -> tuple[ClusterNode, ClusterNode]:
        return self.npu_node, self.cpu_node

    @property
    def api(self) -> Api:
        return self.control.api

    @property
    def cards(self) -> Cards:
        """The accelerators of the node that has some."""
        assert self._cards
        return self._cards

    async def kubectl(self, *argv: str, said: str = "", within_s: float = 60.0) -> str:
        """Run kubectl as an administrator, with `said` on its standard input; it has to succeed."""
        config = f"--kubeconfig={self.control.kubeconfig('admin')}"
        return await self.control.must(str(self.programs / "kubectl"), config, *argv, said=said, within_s=within_s)

    async def helm(self, *argv: str, within_s: float = 120.0) -> str:
        """Run helm as an administrator; it has to succeed."""
        home = self.control.run / "helm"
        folders = [f"HELM_{kind}_HOME={home / kind.lower()}" for kind in ("CACHE", "CONFIG", "DATA")]
        config = f"--kubeconfig={self.control.kubeconfig('admin')}"
        return await self.control.must("env", *folders, str(self.programs / "helm"), config, *argv, within_s=within_s)

    async def apply(self, *objects: Mapping[str, Any]) -> None:
        """Make or change objects, as `kubectl apply` does."""
        await self.kubectl("apply", "-f", "-", said=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    async def import_image(self, archive: Path) -> None:
        """Give all nodes the images of an archive."""
        for node in self.nodes:
            await node.import_image(archive)

    @asynccontextmanager
    async def namespace(self) -> AsyncIterator[str]:
        """Make a namespace that goes with all that is in it; its pods may do what they like."""
        name = f"test-{uuid.uuid4().hex[:8]}"
        metadata = {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}}
        await self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        try:
            yield name
        finally:
            with anyio.CancelScope(shield=True):
                # Its pods hold cards until they have gone; what is left of it then is in nobody's way.
                # The namespace's controller would begin to end them after five seconds only.
                await self.kubectl("-n", name, "delete", _WHAT_HAS_PODS, "--all", "--wait=false")
                await self.kubectl("delete", "namespace", name, "--wait=false")
                await eventually(lambda: self._pods(name), lambda pods: not pods, within_s=60)

    @asynccontextmanager
    async def simulated_node(self, name: str, resources: Mapping[str, str], labels: Mapping[str, str] | None = None) -> AsyncIterator[str]:
        """Add a node that is Ready and has resources, such as {"furiosa.ai/npu": "8"}, and runs nothing: for what the scheduler decides.

        Pods that are bound to it stay Pending, and are gone when it is left.
        """
        there = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **(labels or {})}
        # Whoever runs on every node would wait for it for ever.
        taint = {"key": "example.com/simulated", "effect": "NoSchedule"}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": there}, "spec": {"taints": [taint]}}
        await self.api.request("POST", "/api/v1/nodes", node)
        try:
            async with anyio.create_task_group() as beating:
                beating.start_soon(self._beat, name, {"cpu": "8", "memory": "64Gi", "pods": "100", **resources})
                await eventually(lambda: self._is_schedulable(name), bool)
                yield name
                beating.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self.api.request("DELETE", f"/api/v1/nodes/{name}")
                for pod in (await self.api.get(f"/api/v1/pods?fieldSelector=spec.nodeName%3D{name}"))["items"]:
                    # There is no kubelet that would end it.
                    path = f"/api/v1/namespaces/{pod['metadata']['namespace']}/pods/{pod['metadata']['name']}"
                    await self.api.request("DELETE", path, {"gracePeriodSeconds": 0})

    async def _beat(self, name: str, resources: Mapping[str, str]) -> None:
        while True:
            now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            ready = {"type": "Ready", "status": "True", "reason": "Simulated", "message": "", "lastHeartbeatTime": now}
            status = {"capacity": resources, "allocatable": resources, "conditions": [ready]}
            with contextlib.suppress(OSError):  # the API server may be away
                await self.api.patch(f"/api/v1/nodes/{name}/status", {"status": status}, kind="strategic-merge-patch")
            await anyio.sleep(_BEATS_EACH_S)

    async def _is_schedulable(self, name: str) -> bool:
        """Whether the controller has seen that the node is ready, and taken away what it had put on a new one."""
        taints = (await self.api.get(f"/api/v1/nodes/{name}"))["spec"].get("taints", ())
        return all(not taint["key"].startswith("node.kubernetes.io/") for taint in taints)

    async def _pods(self, namespace: str) -> list[str]:
        return [pod["metadata"]["name"] for pod in (await self.api.get(f"/api/v1/namespaces/{namespace}/pods"))["items"]]

    async def node_status(self, name: str) -> Object:
        """Return the status of a node, with capacity and allocatable."""
        status: Object = (await self.api.get(f"/api/v1/nodes/{name}"))["status"]
        return status

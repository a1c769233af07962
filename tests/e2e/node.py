"""The node of the scenarios as it is: kubelet 1.36 and containerd, with pods that are real containers."""

import asyncio
import json
import signal
import socket
import ssl
import urllib.error
import urllib.request
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from tests.e2e import image
from tests.e2e.api_server import ApiServer
from tests.e2e.connections import connections, cut_connections
from tests.e2e.machine import Machine, answers
from tests.e2e.namespaces import Program
from tests.e2e.programs import KUBELET_VERSION
from tests.scenarios.eventually import eventually
from tests.scenarios.held import devices_held, paths_allocated
from tests.scenarios.node import Container, Node, Pod, PodRejected, Quantity

_START_S = 60.0
_POD_S = 60.0

# Sleeps until SIGTERM, which a bare `sleep` would not hear as the first process of its container.
_RUN_FOREVER = ["sh", "-c", "trap 'exit 0' TERM; sleep 2147483647 & wait"]


class RealNode(Node):
    """Kubelet on a machine of the tests, with static pods.

    `quantity` is what kubelet writes to the status of its Node object, which a small API server of the tests keeps. Kubelet's own
    folder is seen at /var/lib/kubelet inside and at `kubelet_dir` everywhere.
    """

    version = KUBELET_VERSION
    runs_containers = True
    reports_device_health = True

    def __init__(self, machine: Machine, api_server: ApiServer) -> None:
        self.machine = machine
        self.kubelet_dir = machine.run / "kubelet"
        self.work = machine.run / "work"
        self._manifests = machine.run / "manifests"
        self._api_server = api_server
        self._port = _free_port()
        self._kubelet: Program | None = None
        self._uids: dict[str, str] = {}
        for folder in (self.work, self._manifests):
            folder.mkdir()
        (machine.run / "kubelet.json").write_text(json.dumps(self._kubelet_configuration()))
        (machine.run / "kubeconfig.json").write_text(json.dumps(_kubeconfig(api_server.url)))

    def command(self, *argv: str) -> list[str]:
        return self.machine.command(*argv)

    async def start_kubelet(self) -> None:
        self._api_server.forget()
        run = self.machine.run
        self._kubelet = await self.machine.start(
            "kubelet",
            *("--config", run / "kubelet.json", "--kubeconfig", run / "kubeconfig.json", "--hostname-override", "node1", "--v=2"),
        )
        registration = self.kubelet_dir / "device-plugins" / "kubelet.sock"
        await eventually(lambda: answers(registration), lambda up: up or not self._kubelet_runs, within_s=_START_S)
        if not self._kubelet_runs:
            raise AssertionError(f"kubelet ended at its start; see {self.machine.logs / 'kubelet.log'}")
        # Before it has heard of all its pods it frees the devices of none, and refuses those who ask for them.
        await eventually(self._knows_its_pods, bool, within_s=_START_S)

    async def stop_kubelet(self) -> None:
        await self._end_kubelet(signal.SIGTERM)

    async def kill_kubelet(self) -> None:
        await self._end_kubelet(signal.SIGKILL)

    async def quantity(self, resource: str) -> Quantity | None:
        # What kubelet wrote before may be of before; what it writes from now on is of now.
        before = self._api_server.node_reports
        await eventually(self._node_reports, lambda reports: reports > before or not self._kubelet_runs, within_s=_START_S)
        status = self._api_server.node_status()
        if not self._kubelet_runs or status is None or resource not in status["capacity"]:
            return None
        return Quantity(int(status["capacity"][resource]), int(status["allocatable"].get(resource, 0)))

    async def run_pod(self, pod: Pod) -> None:
        self._uids[pod.name] = str(uuid.uuid4())
        manifest = _manifest(pod, self._uids[pod.name])
        fresh = self.machine.run / f"{pod.name}.json"
        fresh.write_text(json.dumps(manifest))
        fresh.rename(self._manifests / fresh.name)
        status = await eventually(lambda: self.pod_status(pod.name), _is_settled, within_s=_POD_S)
        if status["phase"] == "Failed":
            raise PodRejected(status.get("reason", ""), status.get("message", ""))

    async def delete_pod(self, name: str) -> None:
        (self._manifests / f"{name}.json").unlink()
        if self._kubelet_runs:
            await eventually(lambda: self.pod_status(name), lambda status: not status, within_s=_POD_S)

    async def devices(self, pod_name: str) -> Mapping[str, Mapping[str, frozenset[str]]]:
        return await devices_held(self.kubelet_dir, f"{pod_name}-node1")

    async def allocations(self, pod_name: str) -> Mapping[str, Sequence[str]]:
        return paths_allocated(self.kubelet_dir, self._uids[pod_name])

    async def device_health(self, pod_name: str) -> Mapping[str, str]:
        status = await self.pod_status(pod_name)
        return {
            device["resourceID"]: device["health"]
            for container in status.get("containerStatuses", ())
            for resource in container.get("allocatedResourcesStatus", ())
            for device in resource["resources"]
        }

    async def run_in_pod(self, pod_name: str, *argv: str) -> tuple[int, str]:
        container, *_ = await self.containers(pod_name)
        return await self.machine.ctr("task", "exec", "--exec-id", uuid.uuid4().hex, container, *argv)

    async def restart_containers(self, pod_name: str) -> None:
        before = await self.containers(pod_name)
        for container in before:
            status, output = await self.machine.ctr("task", "kill", "--signal", "SIGKILL", container)
            assert status == 0, output
        await eventually(
            lambda: self.pod_status(pod_name),
            lambda status: _is_settled(status) and not set(before) & set(_containers(status)),
            within_s=_POD_S,
        )

    async def cut_streams(self) -> None:
        assert self._kubelet, "kubelet is not running"
        kubelet = self._kubelet.process_id

        async def cut() -> set[str]:
            return cut_connections(kubelet, self.kubelet_dir / "device-plugins")

        async def still_open() -> set[str]:
            return lost & connections(kubelet).keys()

        # After an earlier cut there may be none again yet, and kubelet closes its end when it has noticed.
        lost = await eventually(cut, bool)
        await eventually(still_open, lambda names: not names)

    async def containers(self, pod_name: str) -> list[str]:
        """Return the ids that the runtime gave the app containers; a container that starts again gets another one."""
        return _containers(await self.pod_status(pod_name))

    async def pod_status(self, name: str) -> dict[str, Any]:
        """Return the status of a pod by kubelet's own API, empty where kubelet does not know it."""
        pods = await eventually(self._pods, lambda pods: pods is not None, within_s=_START_S)
        assert pods
        found = [
            pod for pod in pods["items"] or () if pod["metadata"]["name"] == f"{name}-node1" and pod["metadata"]["uid"] == self._uids[name]
        ]
        return found[0]["status"] if found else {}

    @property
    def _kubelet_runs(self) -> bool:
        return self._kubelet is not None and self._kubelet.is_running

    async def _end_kubelet(self, number: signal.Signals) -> None:
        assert self._kubelet, "kubelet has not been started"
        await self._kubelet.end(number)
        self._kubelet = None

    async def _knows_its_pods(self) -> bool:
        return self._api_server.is_watched("/api/v1/pods")

    async def _node_reports(self) -> int:
        return self._api_server.node_reports

    async def _pods(self) -> dict[str, Any] | None:
        """Return kubelet's pods, or None while it does not answer yet."""
        try:
            return await asyncio.to_thread(_get, f"https://127.0.0.1:{self._port}/pods")
        except urllib.error.URLError:
            return None

    def _kubelet_configuration(self) -> dict[str, Any]:
        run = self.machine.run
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{self.machine.containerd_socket}",
            "staticPodPath": str(self._manifests),
            "podLogsDir": str(run / "pod-logs"),
            "volumePluginDir": str(run / "volume-plugins"),
            "fileCheckFrequency": "1s",
            "syncFrequency": "1s",
            # Said again without a change too, so that `quantity` can wait for it.
            "nodeStatusUpdateFrequency": "100ms",
            "nodeStatusReportFrequency": "100ms",
            "contentType": "application/json",
            "address": "127.0.0.1",
            "port": self._port,
            "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.machine.name}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "resolvConf": "",
            "makeIPTablesUtilChains": False,
            "maxPods": 20,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
            "maxOpenFiles": 20000,
            "crashLoopBackOff": {"maxContainerRestartPeriod": "1s"},
        }


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "tests", "cluster": {"server": url}}],
        "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": ""}}],
        "current-context": "tests",
    }


def _manifest(pod: Pod, uid: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": pod.name, "namespace": pod.namespace, "uid": uid},
        "spec": {
            "hostNetwork": True,
            "terminationGracePeriodSeconds": 2,
            "initContainers": [_container(container) for container in pod.containers if container.init],
            "containers": [_container(container) for container in pod.containers if not container.init],
        },
    }


def _container(container: Container) -> dict[str, Any]:
    ends_at_once = container.init and not container.restartable
    return {
        "name": container.name,
        "image": image.REFERENCE,
        "imagePullPolicy": "Never",
        "command": ["true"] if ends_at_once else _RUN_FOREVER,
        "resources": {"limits": {name: str(count) for name, count in container.devices.items()}},
        **({"restartPolicy": "Always"} if container.restartable else {}),
    }


def _is_settled(status: Mapping[str, Any]) -> bool:
    """Whether a pod runs with all its containers, or never will."""
    if status.get("phase") == "Failed":
        return True
    return status.get("phase") == "Running" and all("running" in container["state"] for container in status["containerStatuses"])


def _containers(status: Mapping[str, Any]) -> list[str]:
    return [container["containerID"].partition("://")[2] for container in status.get("containerStatuses", ())]


def _get(url: str) -> Any:
    # Kubelet signs its certificate itself. This context, unlike the default one, reads no certificates of others.
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
    with urllib.request.urlopen(url, timeout=10, context=unverified) as answer:
        return json.load(answer)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port

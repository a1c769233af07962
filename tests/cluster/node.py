"""A node of a cluster: kubelet, containerd, kube-proxy and a network for pods, in namespaces of its own."""

import json
import signal
from pathlib import Path
from typing import Any

import anyio

from tests.cluster.control_plane import POD_CIDR, ControlPlane
from tests.e2e.machine import Machine
from tests.e2e.namespaces import Program
from tests.scenarios.eventually import eventually

_START_S = 60.0


class ClusterNode(Machine):
    """The node `name`, the `number`th (from 1) of the cluster. Entered, it is Ready."""

    def __init__(self, programs: Path, logs: Path, control: ControlPlane, name: str, number: int) -> None:
        super().__init__(programs, logs, network=True)
        self.node_name = name
        self.address = f"172.20.0.{10 + number}"
        self.kubelet_dir = self.run / "kubelet"
        """What is /var/lib/kubelet inside."""
        self._pods = f"10.244.{number}.0/24"
        self._control = control
        self._kubelet: Program | None = None
        self._proxy: Program | None = None

    async def start_kubelet(self) -> None:
        config = self._control.kubeconfig(f"system:node:{self.node_name}")
        self._kubelet = await self.start(
            "kubelet",
            *("--config", self.run / "kubelet.json", "--kubeconfig", config),
            *("--hostname-override", self.node_name, "--node-ip", self.address, "--v=2"),
        )

    async def stop_kubelet(self, number: signal.Signals = signal.SIGTERM) -> None:
        assert self._kubelet
        await self._kubelet.end(number)

    async def restart_kubelet(self) -> None:
        """Stop kubelet and start it again. It asks the API server anew for all that it knows of it, tokens of pods too."""
        await self.stop_kubelet()
        await self.start_kubelet()

    async def start_proxy(self) -> None:
        await self.start(
            "kube-proxy",
            *("--kubeconfig", self._control.kubeconfig("system:kube-proxy"), "--proxy-mode=iptables", f"--cluster-cidr={POD_CIDR}"),
            f"--hostname-override={self.node_name}",
            # These limits belong to the whole machine; zero leaves them as they are.
            *("--conntrack-max-per-core=0", "--conntrack-tcp-timeout-established=0", "--conntrack-tcp-timeout-close-wait=0"),
        )

    async def kill_everything(self) -> None:
        """End every process of the node at once, containers too, as if its power had gone. `start_all` brings it back."""
        # All but the first process of the namespace, which no signal from inside reaches.
        await self.must("nsenter", f"--target={self.first_process}", "--pid", "--", "sh", "-c", "kill -9 -1")

    async def start_all(self) -> None:
        await self.start_containerd()
        await self.start_kubelet()
        await self.start_proxy()

    async def is_ready(self) -> bool:
        node = await self._control.api.find(f"/api/v1/nodes/{self.node_name}")
        conditions = node["status"].get("conditions", ()) if node else ()
        return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)

    async def _start(self) -> None:
        await self._control.plug(self, self.node_name, self.address, self._pods)
        await self.must("sysctl", "-qw", "net.ipv4.ip_forward=1")
        await anyio.Path(self.cni).mkdir(parents=True)
        await anyio.Path(self.cni / "10-pods.conflist").write_text(json.dumps(_network(self._pods)))
        await anyio.Path(self.run / "kubelet.json").write_text(json.dumps(self._configuration()))
        await super()._start()
        await self.start_kubelet()
        await self.start_proxy()
        await eventually(self.is_ready, bool, within_s=_START_S)

    def _configuration(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "containerRuntimeEndpoint": f"unix://{self.containerd_socket}",
            "volumePluginDir": str(self.run / "volume-plugins"),
            "syncFrequency": "5s",
            # The tests wait for what it says of devices.
            "nodeStatusUpdateFrequency": "1s",
            "address": self.address,
            "healthzPort": 0,
            "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
            "authorization": {"mode": "AlwaysAllow"},
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.name}",
            "failCgroupV1": False,
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "resolvConf": "",
            "makeIPTablesUtilChains": False,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "1Mi", "nodefs.available": "1%", "imagefs.available": "1%", "nodefs.inodesFree": "1%"},
            "maxOpenFiles": 20000,
            "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
        }


def _network(pods: str) -> dict[str, Any]:
    ipam = {"type": "host-local", "ranges": [[{"subnet": pods}]], "routes": [{"dst": "0.0.0.0/0"}]}
    bridge = {"type": "bridge", "bridge": "cni0", "isGateway": True, "hairpinMode": True, "ipam": ipam}
    return {"cniVersion": "1.0.0", "name": "pods", "plugins": [bridge, {"type": "loopback"}]}

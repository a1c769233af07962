"""The control plane of a cluster: etcd, API server, controller manager and scheduler, in namespaces and a network of their own."""

import json
import signal
from pathlib import Path
from typing import Any

import anyio

from tests.cluster.api import Api, Refused
from tests.e2e.namespaces import Namespaces, Program
from tests.scenarios.eventually import eventually

ADDRESS = "172.20.0.1"
PORT = 6443
POD_CIDR = "10.244.0.0/16"
_SERVICE_CIDR = "10.96.0.0/16"
_START_S = 60.0
_CONTROLLERS = ("kube-controller-manager", "kube-scheduler")
_ETCD = "http://127.0.0.1:2379"

# The users that are no ServiceAccounts: name and groups. The token of each is its name and "-token".
_USERS = {
    "admin": "system:masters",
    "system:kube-controller-manager": "",
    "system:kube-scheduler": "",
    "system:kube-proxy": "",
}


class ControlPlane(Namespaces):
    """A control plane as kubeadm would make it in what matters here: Node and RBAC authorisation, ServiceAccount and NodeRestriction
    admission, ValidatingAdmissionPolicy. `node_names` are those that may join.

    Nodes are plugged into its bridge with `plug`. Entered, it answers; `api` asks it as an administrator.
    """

    def __init__(self, programs: Path, logs: Path, *, node_names: list[str]) -> None:
        super().__init__(programs, logs, network=True)
        self._users = {**_USERS, **{f"system:node:{name}": "system:nodes" for name in node_names}}
        self._programs: dict[str, Program] = {}
        self.ca = self.run / "pki" / "apiserver.crt"

    @property
    def api(self) -> Api:
        return Api(self.first_process, (ADDRESS, PORT), self.ca, _token("admin"))

    def kubeconfig(self, user: str) -> Path:
        """Return the file with which `user` talks to the API server, "admin" or "system:node:NAME"."""
        return self.run / f"{user.replace(':', '-')}.kubeconfig"

    async def plug(self, machine: Namespaces, name: str, address: str, pods: str) -> None:
        """Give a machine the link eth0 to our bridge with that address, and a way to and from its pods."""
        await self.must("ip", "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(machine.first_process))
        await self.must("ip", "link", "set", name, "master", "br0", "up")
        await machine.must("ip", "address", "add", f"{address}/24", "dev", "eth0")
        await machine.must("ip", "link", "set", "eth0", "up")
        await machine.must("ip", "route", "add", "default", "via", ADDRESS)
        await self.must("ip", "route", "add", pods, "via", address)

    async def start_api_server(self) -> None:
        """Start the API server; return when it answers that it is ready."""
        pki = self.run / "pki"
        server = self._programs["kube-apiserver"] = await self.start(
            "kube-apiserver",
            *(f"--etcd-servers={_ETCD}", f"--bind-address={ADDRESS}", f"--advertise-address={ADDRESS}", f"--secure-port={PORT}"),
            # It makes its certificate there itself, for its address, the service's address and the usual names, with a CA behind it.
            f"--cert-dir={pki}",
            *("--service-account-issuer=https://kubernetes.default.svc", f"--service-account-key-file={pki / 'sa.key'}"),
            *(f"--service-account-signing-key-file={pki / 'sa.key'}", f"--token-auth-file={pki / 'tokens.csv'}"),
            *("--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true"),
            *(f"--service-cluster-ip-range={_SERVICE_CIDR}", "--kubelet-preferred-address-types=InternalIP"),
        )
        await eventually(self.is_ready, lambda ready: ready or not server.is_running, within_s=_START_S)
        assert server.is_running, f"kube-apiserver ended at its start; see {self.logs / 'kube-apiserver.log'}"

    async def kill_api_server(self) -> None:
        await self._programs.pop("kube-apiserver").end(signal.SIGKILL)

    async def replace_service_account_key(self) -> None:
        """Have the API server start again with another key: no token of a ServiceAccount is good any more."""
        await self.kill_api_server()
        await self._make_key()
        await self.start_api_server()

    async def restart_controllers(self) -> None:
        """Start the controller manager and the scheduler again, which have tokens of ServiceAccounts too."""
        for program in _CONTROLLERS:
            await self._programs.pop(program).end(signal.SIGTERM)
        await self._start_controllers()

    async def is_ready(self) -> bool:
        try:
            await self.api.request("GET", "/readyz?verbose=false")
        except json.JSONDecodeError:  # it says "ok"
            return True
        except (OSError, Refused):
            return False
        return True

    async def _start(self) -> None:
        await self.must("ip", "link", "add", "br0", "type", "bridge")
        await self.must("ip", "address", "add", f"{ADDRESS}/24", "dev", "br0")
        await self.must("ip", "link", "set", "br0", "up")
        await self.must("ip", "route", "add", "default", "dev", "br0")
        await self.must("sysctl", "-qw", "net.ipv4.ip_forward=1")
        await self._write_users()
        etcd = ("--data-dir", self.run / "etcd", "--listen-client-urls", _ETCD, "--advertise-client-urls", _ETCD)
        # What is written need not outlive this machine, and its disk is shared with builds.
        await self.start("etcd", *etcd, "--listen-peer-urls", "http://127.0.0.1:2380", "--unsafe-no-fsync")
        await self.start_api_server()
        await self._start_controllers()
        # A pod can be made only when its ServiceAccount is there.
        await eventually(self._has_default_account, bool, within_s=_START_S)

    async def _start_controllers(self) -> None:
        account = ("--use-service-account-credentials", f"--service-account-private-key-file={self.run / 'pki' / 'sa.key'}")
        # Whoever takes a node away waits until it is noticed.
        node = ("--node-monitor-grace-period=20s", "--node-monitor-period=2s")
        for program in _CONTROLLERS:
            config = self.kubeconfig(f"system:{program}")
            same = [f"--{kind}kubeconfig={config}" for kind in ("", "authentication-", "authorization-")]
            more = [*account, *node, f"--root-ca-file={self.ca}"] if program == "kube-controller-manager" else []
            self._programs[program] = await self.start(program, *same, "--leader-elect=false", "--bind-address=127.0.0.1", *more)

    async def _has_default_account(self) -> bool:
        return await self.api.find("/api/v1/namespaces/default/serviceaccounts/default") is not None

    async def _write_users(self) -> None:
        pki = self.run / "pki"
        pki.mkdir()
        await self._make_key()
        lines = [f'{_token(user)},{user},{number},"{groups}"\n' for number, (user, groups) in enumerate(self._users.items())]
        await anyio.Path(pki / "tokens.csv").write_text("".join(lines))
        for user in self._users:
            await anyio.Path(self.kubeconfig(user)).write_text(json.dumps(self._kubeconfig(user)))

    async def _make_key(self) -> None:
        await self.must("openssl", "genrsa", "-out", str(self.run / "pki" / "sa.key"), "2048")

    def _kubeconfig(self, user: str) -> dict[str, Any]:
        cluster = {"server": f"https://{ADDRESS}:{PORT}", "certificate-authority": str(self.ca)}
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "tests", "cluster": cluster}],
            "users": [{"name": user, "user": {"token": _token(user)}}],
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
            "current-context": "tests",
        }


def _token(user: str) -> str:
    return f"{user.replace(':', '-')}-token"

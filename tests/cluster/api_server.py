"""An API server with its etcd and nothing else, on the loopback address: for what only it knows (apply, RBAC, admission, tokens).

Nodes and pods are objects here that nobody acts on. It starts in some seconds.
"""

import contextlib
import json
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npu_agent.cluster.access import Access, of_kubeconfig
from npu_agent.cluster.client import ApiServer

Object = dict[str, Any]

_START_S = 120.0
_ADMIN = "admin-token"


class Refused(Exception):
    """The API server refused. `status` is that of HTTP."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}")
        self.status = status


@dataclass
class RealApiServer:
    """What is asked here is asked by kubectl, as an administrator, or by whom a token names."""

    programs: Path
    folder: Path
    port: int
    etcd_port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def ca(self) -> str:
        return (self.folder / "pki" / "apiserver.crt").read_text()

    def access(self, token: str = _ADMIN) -> Access:
        return Access(self.url, authorities=self.ca, token=token, namespace="npu")

    def client(self, token: str = _ADMIN) -> ApiServer:
        """Return what the agent asks it by."""
        access = self.access(token)
        return ApiServer(lambda: access)

    def kubeconfig(self, name: str, token: str = _ADMIN) -> Path:
        """Write the file of a user, whose token is in a file beside it that can be replaced."""
        (self.folder / f"{name}.token").write_text(token)
        path = self.folder / f"{name}.kubeconfig"
        cluster = {"server": self.url, "certificate-authority": "pki/apiserver.crt"}
        path.write_text(
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "current-context": "tests",
                    "clusters": [{"name": "tests", "cluster": cluster}],
                    "users": [{"name": "tests", "user": {"tokenFile": f"{name}.token"}}],
                    "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "tests", "namespace": "npu"}}],
                }
            )
        )
        assert of_kubeconfig(path).token == token
        return path

    def kubectl(self, *arguments: str, said: str = "") -> str:
        """Run kubectl as an administrator, and return what it says. Raises Refused."""
        config = self.kubeconfig("kubectl")
        argv = [str(self.programs / "kubectl"), f"--kubeconfig={config}", *arguments]
        done = subprocess.run(argv, input=said, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Refused(0, done.stderr.strip())
        return done.stdout

    def apply(self, *objects: Mapping[str, Any]) -> None:
        self.kubectl("apply", "-f", "-", said=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))

    def add_node(self, name: str, **spec: Any) -> Object:
        self.apply(
            {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": {"example.com/theirs": "stays"}}, "spec": spec}
        )
        return self.node(name)

    def node(self, name: str) -> Object:
        node: Object = json.loads(self.kubectl("get", "node", name, "-o", "json", "--show-managed-fields"))
        return node

    def labels(self, name: str) -> dict[str, str]:
        """Return the labels of a node, without those that the API server gives to every one."""
        labels: dict[str, str] = self.node(name)["metadata"]["labels"]
        return {key: value for key, value in labels.items() if "kubernetes.io/" not in key}

    def taints(self, name: str) -> list[Object]:
        """Return the taints of a node, without the one of a node that no kubelet has."""
        taints: list[Object] = self.node(name)["spec"].get("taints", [])
        return [taint for taint in taints if taint["key"] != "node.kubernetes.io/not-ready"]

    def has(self, kind: str, name: str) -> bool:
        """Return whether the namespace npu has the object."""
        return bool(self.kubectl("-n", "npu", "get", kind, name, "--ignore-not-found").strip())

    def add_pod(self, name: str, node: str) -> None:
        """Make a pod of the ServiceAccount npu-agent on a node, as a scheduler would have."""
        if not self.has("serviceaccount", "npu-agent"):
            self.kubectl("-n", "npu", "create", "serviceaccount", "npu-agent")
        spec = {"serviceAccountName": "npu-agent", "nodeName": node, "containers": [{"name": "agent", "image": "none"}]}
        self.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "npu"}, "spec": spec})

    def wait_until_enforced(self, node: str, token: str) -> None:
        """Return when a policy refuses a change of the node to whom `token` names; the API server takes a second to know one."""
        argv = [str(self.programs / "kubectl"), f"--server={self.url}", f"--certificate-authority={self.folder}/pki/apiserver.crt"]
        argv += ["--token", token, "label", "node", node, "furiosa.ai/probe=x", "--dry-run=server", "--overwrite"]
        deadline = time.monotonic() + _START_S
        while "ValidatingAdmissionPolicy" not in (said := subprocess.run(argv, capture_output=True, text=True, check=False).stderr):
            assert time.monotonic() < deadline, f"the policy is not enforced: {said}"
            time.sleep(0.1)

    def token(self, account: str, *, pod: str = "") -> str:
        """Return a token of a ServiceAccount of the namespace npu, bound to a pod if one is named."""
        bound = ["--bound-object-kind=Pod", f"--bound-object-name={pod}"] if pod else []
        return self.kubectl("create", "token", account, "--namespace=npu", *bound).strip()

    def start(self) -> None:
        pki = self.folder / "pki"
        options = {
            "etcd-servers": f"http://127.0.0.1:{self.etcd_port}",
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": self.port,
            "cert-dir": pki,
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": self.folder / "sa.key",
            "service-account-signing-key-file": self.folder / "sa.key",
            "token-auth-file": self.folder / "tokens.csv",
            "authorization-mode": "Node,RBAC",
            "enable-admission-plugins": "NodeRestriction",
            "endpoint-reconciler-type": "none",
            "service-cluster-ip-range": "10.96.0.0/16",
            "watch-cache": "false",
        }
        argv = [str(self.programs / "kube-apiserver"), *(f"--{name}={value}" for name, value in options.items())]
        with (self.folder / "kube-apiserver.log").open("ab") as log:
            self.process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + _START_S
        while not self._is_ready():
            assert self.process.poll() is None, f"kube-apiserver ended; see {self.folder}/kube-apiserver.log"
            assert time.monotonic() < deadline, "kube-apiserver does not become ready"
            time.sleep(0.1)

    def stop(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def _is_ready(self) -> bool:
        try:
            context = ssl.create_default_context(cadata=self.ca)
            request = urllib.request.Request(f"{self.url}/readyz", headers={"Authorization": f"Bearer {_ADMIN}"})
            with urllib.request.urlopen(request, context=context, timeout=5) as answer:
                return bool(answer.status == 200)
        except (OSError, urllib.error.URLError):
            return False


@contextmanager
def api_server(programs: Path, folder: Path) -> Iterator[RealApiServer]:
    """Yield a running API server that has the namespace npu; what it writes is below `folder`."""
    for name in ("pki", "etcd"):
        (folder / name).mkdir(parents=True)
    subprocess.run(("openssl", "genrsa", "-out", folder / "sa.key", "2048"), check=True, capture_output=True)
    (folder / "tokens.csv").write_text(f'{_ADMIN},admin,1,"system:masters"\n')
    ports = _free_ports(3)
    server = RealApiServer(programs, folder, ports[0], ports[1])
    client, peer = f"http://127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[2]}"
    argv = [programs / "etcd", "--data-dir", folder / "etcd", "--listen-client-urls", client, "--advertise-client-urls", client]
    argv += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--initial-cluster", f"default={peer}", "--unsafe-no-fsync"]
    with (folder / "etcd.log").open("wb") as log:
        etcd = subprocess.Popen([str(word) for word in argv], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
    try:
        server.start()
        server.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "npu"}})
        yield server
    finally:
        with contextlib.suppress(AssertionError):
            server.stop()
        etcd.kill()
        etcd.wait()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()

"""Where the API server is, and who we are to it: by the service account of a pod, or by a kubeconfig.

What is returned is as the files are now. Whoever asks again for each request has the token and the authorities that kubelet last put there
(a token lives an hour and is replaced after 48 minutes).
"""

import base64
import binascii
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from npu_agent.cluster.errors import AccessMissing
from npu_agent.core.text import printable

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach the API server. Certificates and keys are texts in PEM form, empty where there are none.

    `authorities` are the certificate authorities of the cluster; where there are none, those of the system are believed. `server_name`
    is whom the server's certificate must name, the host of `server` if it is empty.
    """

    server: str
    namespace: str = "default"
    authorities: str = ""
    token: str = field(default="", repr=False)
    certificate: str = ""
    key: str = field(default="", repr=False)
    server_name: str = ""
    verify: bool = True


@dataclass(frozen=True, slots=True)
class Identity:
    """Who we are by our own token: the pod that it is bound to, empty where it is bound to none."""

    pod: str = ""
    pod_uid: str = ""


def find(kubeconfig: Path | None) -> Access:
    """Return the way that `kubeconfig` says, else that of the pod that we run in. Raises AccessMissing."""
    return in_cluster() if kubeconfig is None else of_kubeconfig(kubeconfig)


def in_cluster(folder: Path = SERVICE_ACCOUNT, environment: Mapping[str, str] = os.environ) -> Access:
    """Return the way from a pod, by the files and variables that kubelet gives to it. Raises AccessMissing."""
    host, port = environment.get("KUBERNETES_SERVICE_HOST", ""), environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not host:
        raise AccessMissing(
            "it is not known where the API server is: this is no pod (KUBERNETES_SERVICE_HOST is not set); name a file with --kubeconfig"
        )
    token = _text(folder / "token", "a service account is mounted (automountServiceAccountToken), or name a file with --kubeconfig")
    authorities = _text(folder / "ca.crt", "a service account is mounted (automountServiceAccountToken)")
    try:
        namespace = (folder / "namespace").read_text(encoding="utf-8").strip()
    except OSError:
        namespace = "default"
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Access(server, namespace, authorities, token.strip())


class _Cluster(msgspec.Struct, rename="kebab", frozen=True):
    server: str
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: str = ""


class _User(msgspec.Struct, rename={"token_file": "tokenFile"}, frozen=True):
    token: str = ""
    token_file: str = ""
    certificate: str = msgspec.field(default="", name="client-certificate")
    certificate_data: str = msgspec.field(default="", name="client-certificate-data")
    key: str = msgspec.field(default="", name="client-key")
    key_data: str = msgspec.field(default="", name="client-key-data")
    exec: object = None
    auth_provider: object = msgspec.field(default=None, name="auth-provider")
    username: str = ""


class _Context(msgspec.Struct, frozen=True):
    cluster: str
    user: str = ""
    namespace: str = ""


class _NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: _Cluster


class _NamedUser(msgspec.Struct, frozen=True):
    name: str
    user: _User


class _NamedContext(msgspec.Struct, frozen=True):
    name: str
    context: _Context


class _Kubeconfig(msgspec.Struct, rename="kebab", frozen=True):
    clusters: list[_NamedCluster]
    contexts: list[_NamedContext]
    users: list[_NamedUser] = []
    current_context: str = ""


def of_kubeconfig(path: Path) -> Access:
    """Return the way of the current context in the file, whose relative paths begin at its folder. Raises AccessMissing.

    Ways to say who one is that need a program of others or a password are not taken: a daemon has a token or a certificate.
    """
    import msgspec.yaml

    text = _text(path, "the file given by --kubeconfig can be read")
    try:
        config = msgspec.yaml.decode(text, type=_Kubeconfig)
    except (msgspec.MsgspecError, ValueError) as error:
        raise AccessMissing(f"{path} is no kubeconfig: {printable(str(error))}") from error
    context = next((named.context for named in config.contexts if named.name == config.current_context), None)
    if context is None:
        raise AccessMissing(f"{path}: current-context {config.current_context!r} is none of its contexts")
    cluster = next((named.cluster for named in config.clusters if named.name == context.cluster), None)
    if cluster is None:
        raise AccessMissing(f"{path}: there is no cluster {context.cluster!r}, which the context names")
    user = next((named.user for named in config.users if named.name == context.user), _User())
    if user.exec is not None or user.auth_provider is not None or user.username or cluster.proxy_url:
        raise AccessMissing(f"{path}: exec, auth-provider, username and proxy-url are not taken; give a token or a client certificate")
    if urlsplit(cluster.server).scheme not in ("https", "http"):
        raise AccessMissing(f"{path}: expected a server such as https://10.0.0.1:6443, got {printable(cluster.server)!r}")

    def content(name: str, data: str, file: str) -> str:
        if data:
            try:
                return base64.b64decode(data, validate=True).decode()
            except (binascii.Error, UnicodeDecodeError) as error:
                raise AccessMissing(f"{path}: {name}-data is not in base64") from error
        return _text(path.parent / file, f"{name} of {path} is there") if file else ""

    return Access(
        server=cluster.server.rstrip("/"),
        namespace=context.namespace or "default",
        authorities=content("certificate-authority", cluster.certificate_authority_data, cluster.certificate_authority),
        token=(_text(path.parent / user.token_file, f"tokenFile of {path} is there") if user.token_file else user.token).strip(),
        certificate=content("client-certificate", user.certificate_data, user.certificate),
        key=content("client-key", user.key_data, user.key),
        server_name=cluster.tls_server_name,
        verify=not cluster.insecure_skip_tls_verify,
    )


def identity_of(token: str) -> Identity:
    """Return who a token of a service account says that we are. It is our own, so nobody needs to vouch for it.

    The claim is `kubernetes.io` (pkg/serviceaccount/claims.go); a token of another kind says nothing.
    """
    try:
        payload = token.split(".")[1]
        claims = msgspec.json.decode(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        pod = claims["kubernetes.io"]["pod"]
        return Identity(str(pod["name"]), str(pod["uid"]))
    except (IndexError, KeyError, TypeError, ValueError, msgspec.DecodeError):
        return Identity()


def _text(path: Path, advice: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no text"
        raise AccessMissing(f"{path} cannot be read: {said}; see that {advice}") from error

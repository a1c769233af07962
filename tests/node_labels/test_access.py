"""Where the API server is, by a service account or a kubeconfig."""

import base64
import json
from pathlib import Path

import pytest

from npu_agent.cluster.access import Identity, find, identity_of, in_cluster, of_kubeconfig
from npu_agent.cluster.errors import AccessMissing

KUBECONFIG = """
apiVersion: v1
kind: Config
current-context: here
contexts:
- name: here
  context: {cluster: c, user: u, namespace: npu-system}
clusters:
- name: c
  cluster: {server: "https://10.0.0.1:6443/", certificate-authority: ca.crt, tls-server-name: kubernetes}
users:
- name: u
  user: {tokenFile: token}
"""


def write(folder: Path, text: str = KUBECONFIG) -> Path:
    (folder / "ca.crt").write_text("authority")
    (folder / "token").write_text("secret\n")
    path = folder / "kubeconfig"
    path.write_text(text)
    return path


def test_a_kubeconfig_says_all_of_its_current_context(tmp_path: Path) -> None:
    access = find(write(tmp_path))
    assert (access.server, access.namespace, access.server_name) == ("https://10.0.0.1:6443", "npu-system", "kubernetes")
    assert (access.authorities, access.token) == ("authority", "secret")
    assert "secret" not in repr(access)


def test_data_in_the_file_takes_the_place_of_files(tmp_path: Path) -> None:
    encoded = base64.b64encode(b"inline").decode()
    text = KUBECONFIG.replace("certificate-authority: ca.crt", f"certificate-authority-data: {encoded}")
    text = text.replace("tokenFile: token", f"client-certificate-data: {encoded}, client-key-data: {encoded}")
    access = of_kubeconfig(write(tmp_path, text))
    assert (access.authorities, access.certificate, access.key, access.token) == ("inline", "inline", "inline", "")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("current-context: here", "current-context: there", "current-context 'there' is none of its contexts"),
        ("cluster: c,", "cluster: d,", "there is no cluster 'd'"),
        ("tokenFile: token", "exec: {command: aws}", "exec, auth-provider, username and proxy-url are not taken"),
        ("tokenFile: token", "tokenFile: elsewhere", "elsewhere cannot be read: No such file"),
        ("https://10.0.0.1:6443/", "ftp://x", "expected a server such as"),
        ("certificate-authority: ca.crt", "certificate-authority-data: '%'", "certificate-authority-data is not in base64"),
        ("clusters:", "cluster:", "is no kubeconfig"),
        ("apiVersion: v1", "{", "is no kubeconfig"),
    ],
)
def test_what_is_wrong_with_a_kubeconfig_is_said(tmp_path: Path, old: str, new: str, said: str) -> None:
    with pytest.raises(AccessMissing, match=said):
        of_kubeconfig(write(tmp_path, KUBECONFIG.replace(old, new)))


def test_no_pod_and_no_file_is_said() -> None:
    with pytest.raises(AccessMissing, match="--kubeconfig"):
        in_cluster(environment={})


def test_a_pod_without_a_token_is_told_what_mounts_one(tmp_path: Path) -> None:
    with pytest.raises(AccessMissing, match="automountServiceAccountToken"):
        in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "10.0.0.1"})


def test_an_address_of_ipv6_is_in_brackets(tmp_path: Path) -> None:
    write(tmp_path)
    access = in_cluster(tmp_path, {"KUBERNETES_SERVICE_HOST": "fd00::1", "KUBERNETES_SERVICE_PORT": "443"})
    assert (access.server, access.namespace) == ("https://[fd00::1]:443", "default")


def token_of(claims: object) -> str:
    return "e30." + base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=") + ".sig"


def test_a_bound_token_names_its_pod() -> None:
    claims = {"kubernetes.io": {"namespace": "n", "pod": {"name": "npu-agent-x", "uid": "1-2"}}}
    assert identity_of(token_of(claims)) == Identity("npu-agent-x", "1-2")


@pytest.mark.parametrize("token", ["", "a", "a.b.c", "a.%%.c", token_of([]), token_of({"kubernetes.io": {"serviceaccount": {}}})])
def test_any_other_token_names_none(token: str) -> None:
    assert identity_of(token) == Identity()

"""The agent of this checkout in a DaemonSet, run by the Python that runs the tests: quick, and without an image to build."""

import sys
from pathlib import Path
from typing import Any

from tests.e2e import image
from tests.program import PROGRAM

NAME = "npu-agent"
_HOST_ROOT = "/host"

# The program, its Python and the libraries of both, at their places.
_FILES = sorted({"/usr", "/lib", "/lib64", sys.base_prefix, sys.prefix, str(Path(__file__).parents[2])})


def daemon_set(namespace: str) -> dict[str, Any]:
    """Return a DaemonSet that runs the agent on every node, which has no right in the cluster and no capability on the node."""
    read_only = {path: path for path in _FILES} | {"/sys": f"{_HOST_ROOT}/sys", "/dev": f"{_HOST_ROOT}/dev"}
    writable = {path: path for path in ("/var/lib/kubelet/device-plugins", "/var/lib/kubelet/pod-resources", "/run/npu-agent")}
    mounts = [{"name": f"v{number}", "mountPath": at} for number, at in enumerate([*read_only.values(), *writable.values()])]
    for mount in mounts[: len(read_only)]:
        mount["readOnly"] = True  # type: ignore[assignment]
    volumes = [
        {"name": f"v{number}", "hostPath": {"path": path, "type": "DirectoryOrCreate"}}
        for number, path in enumerate([*read_only, *writable])
    ]
    container = {
        "name": "agent",
        "image": image.REFERENCE,
        "imagePullPolicy": "Never",
        "command": [PROGRAM, "serve", "--host-root", _HOST_ROOT],
        "env": [{"name": "PYTHONDONTWRITEBYTECODE", "value": "1"}],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": mounts,
    }
    labels = {"app": NAME}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {
                    "automountServiceAccountToken": False,
                    "tolerations": [{"operator": "Exists"}],
                    "containers": [container],
                    "volumes": volumes,
                },
            },
        },
    }

"""What helm makes of the chart and some values, as data."""

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

CHART = Path(__file__).parents[2] / "container" / "chart" / "npu-agent"
Object = dict[str, Any]


class Refused(Exception):
    """helm renders nothing; the text is what it says."""


@dataclass(frozen=True)
class Rendering:
    """The objects of a release, without hooks and with them."""

    objects: tuple[Object, ...]

    def all_of(self, kind: str) -> list[Object]:
        """Return the objects of a kind that are no hooks."""
        return [item for item in self.objects if item["kind"] == kind and "helm.sh/hook" not in (item["metadata"].get("annotations") or {})]

    def one(self, kind: str) -> Object:
        """Return the only object of a kind that is no hook."""
        (item,) = self.all_of(kind)
        return item

    def hook(self, name: str) -> list[Object]:
        """Return the objects that are hooks of this name."""
        return [item for item in self.objects if name == (item["metadata"].get("annotations") or {}).get("helm.sh/hook")]

    @cached_property
    def pod(self) -> Object:
        """The specification of the agent's pods."""
        spec: Object = self.one("DaemonSet")["spec"]["template"]["spec"]
        return spec

    @cached_property
    def container(self) -> Object:
        """The agent's container."""
        (container,) = self.pod["containers"]
        agent: Object = container
        return agent

    @cached_property
    def config(self) -> str:
        """The configuration file that the agent reads."""
        text: str = self.one("ConfigMap")["data"]["config.yaml"]
        return text

    def mounts(self) -> Mapping[str, tuple[str, bool]]:
        """Return the host's folder and whether it can be written to, by the folder of the container where it is."""
        folders = {volume["name"]: volume["hostPath"]["path"] for volume in self.pod["volumes"] if "hostPath" in volume}
        return {
            mount["mountPath"]: (folders[mount["name"]], not mount.get("readOnly", False))
            for mount in self.container["volumeMounts"]
            if mount["name"] in folders
        }


class Chart:
    """The chart, with helm to render it."""

    def __init__(self, helm: Path) -> None:
        self._helm = helm

    def render(self, values: Mapping[str, Any] | None = None, *options: str, release: str = "npu-agent") -> Rendering:
        """Return what `values` are rendered to. Raises Refused."""
        argv = (str(self._helm), "template", release, str(CHART), "--namespace", "npu", "--values", "-", *options)
        done = subprocess.run(argv, input=json.dumps(values or {}), capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Refused(done.stderr.strip())
        return Rendering(tuple(item for item in yaml.safe_load_all(done.stdout) if item))

    def help(self, command: str) -> str:
        """Return what helm says of one of its commands."""
        return subprocess.run((str(self._helm), command, "--help"), capture_output=True, text=True, check=True).stdout

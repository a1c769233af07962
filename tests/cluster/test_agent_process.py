"""The agent as a process that labels its node on a real API server, which goes away, comes back, and no longer takes its token."""

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.cli.running import npu_agent
from tests.cluster.api_server import RealApiServer
from tests.host_tree import HostTree
from tests.node_labels.process import NODE, serving
from tests.scenarios.eventually import eventually

COUNT = "furiosa.ai/npu.count"
LABELLED = {"cluster": {"labels": "apply", "taint": {}}}


@pytest.fixture
def folder(real_api: RealApiServer) -> Iterator[Path]:
    with TemporaryDirectory(prefix="npu-") as made:
        real_api.add_node(NODE)
        yield Path(made)
        real_api.kubectl("delete", "node", NODE)


def link_kubeconfig(folder: Path, kubeconfig: Path) -> None:
    (folder / "kubeconfig").symlink_to(kubeconfig)
    (folder / "pki").symlink_to(kubeconfig.parent / "pki")
    (folder / kubeconfig.with_suffix(".token").name).symlink_to(kubeconfig.with_suffix(".token"))


async def until_count(real_api: RealApiServer, count: str, within_s: float = 20) -> None:
    async def seen() -> str | None:
        node = await real_api.client().request("GET", f"/api/v1/nodes/{NODE}")
        label: str | None = node["metadata"]["labels"].get(COUNT)
        return label

    await eventually(seen, lambda label: label == count, within_s=within_s)


async def listing(folder: Path) -> dict[str, Any]:
    listed = await asyncio.to_thread(npu_agent, "list", "--runtime-dir", folder / "run", "-o", "json")
    found: dict[str, Any] = json.loads(listed.stdout)
    return found


async def test_an_api_server_that_goes_away_is_told_and_has_what_changed_when_it_is_back(real_api: RealApiServer, folder: Path) -> None:
    link_kubeconfig(folder, real_api.kubeconfig("process"))
    tree = HostTree(folder / "host")
    tree.rngd(0)
    async with serving(folder, LABELLED, within_s=150):
        await until_count(real_api, "1")
        assert [taint["key"] for taint in real_api.taints(NODE)] == ["furiosa.ai/npu"]
        await asyncio.to_thread(real_api.stop)
        try:
            tree.rngd(1)

            async def problems() -> dict[str, str]:
                return {problem["source"]: problem["text"] for problem in (await listing(folder))["problems"]}

            told = await eventually(problems, lambda found: "node labels" in found)
            assert "cannot be reached" in told["node labels"]
            states = [accelerator["state"] for accelerator in (await listing(folder))["accelerators"]]
            assert states == ["healthy", "healthy"]
        finally:
            await asyncio.to_thread(real_api.start)
        await until_count(real_api, "2", within_s=90)
        assert "node labels" not in await eventually(problems, lambda found: "node labels" not in found)


async def test_the_next_token_is_taken_when_the_last_one_is_no_longer_good(real_api: RealApiServer, folder: Path) -> None:
    for pod in ("rotating-1", "rotating-2"):
        real_api.add_pod(pod, NODE)
    real_api.kubectl("create", "clusterrolebinding", "rotating", "--clusterrole=cluster-admin", "--serviceaccount=npu:npu-agent")
    kubeconfig = real_api.kubeconfig("rotating", real_api.token("npu-agent", pod="rotating-1"))
    link_kubeconfig(folder, kubeconfig)
    tree = HostTree(folder / "host")
    tree.rngd(0)
    try:
        async with serving(folder, LABELLED, within_s=90):
            await until_count(real_api, "1")
            real_api.kubectl("-n", "npu", "delete", "pod", "rotating-1", "--force")
            kubeconfig.with_suffix(".token").write_text(real_api.token("npu-agent", pod="rotating-2"))
            tree.rngd(1)
            await until_count(real_api, "2")
    finally:
        real_api.kubectl("delete", "clusterrolebinding", "rotating")

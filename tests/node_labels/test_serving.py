"""`npu-agent serve` and `cleanup` with an API server, as processes."""

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.cli.running import npu_agent
from tests.host_tree import HostTree
from tests.node_labels.api_double import ApiDouble, Fault, api_double
from tests.node_labels.process import serving
from tests.scenarios.eventually import eventually

HOUR = {"cluster": {"labels": "apply"}}


@pytest.fixture
async def api(short_dir: Path) -> AsyncIterator[ApiDouble]:
    async with api_double() as double:
        double.add_node("n1")
        kubeconfig = {
            "current-context": "x",
            "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": double.url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        await asyncio.to_thread((short_dir / "kubeconfig").write_text, json.dumps(kubeconfig))
        yield double


async def until_labels(api: ApiDouble, count: str | None) -> None:
    async def told() -> str | None:
        return api.labels("n1").get("furiosa.ai/npu.count")

    await eventually(told, lambda seen: seen == count)


async def until_file(path: Path) -> str:
    async def content() -> str:
        return path.read_text() if path.exists() else ""

    return await eventually(content, bool)


async def test_a_card_that_comes_is_told_within_two_seconds_and_stays_told_when_the_agent_ends(api: ApiDouble, short_dir: Path) -> None:
    tree = HostTree(short_dir / "host")
    tree.rngd(0)
    async with serving(short_dir, HOUR):
        await until_labels(api, "1")
        tree.rngd(1)
        begun = time.monotonic()
        await until_labels(api, "2")
        assert time.monotonic() - begun < 2
    assert api.labels("n1")["furiosa.ai/npu.count"] == "2"
    cleaned = await asyncio.to_thread(
        npu_agent, "cleanup", "--node-name", "n1", "--kubeconfig", short_dir / "kubeconfig", "--nfd-folder", short_dir
    )
    assert cleaned.returncode == 0, cleaned.stderr
    assert "furiosa.ai/npu.count" in cleaned.stdout
    assert api.labels("n1") == {"kubernetes.io/hostname": "n1"}


async def test_without_the_api_server_kubelet_has_its_devices_and_the_list_says_why_there_are_no_labels(
    api: ApiDouble, short_dir: Path
) -> None:
    api.always = Fault(status=503)
    HostTree(short_dir / "host").rngd(0)
    async with serving(short_dir, HOUR):
        await api.wait_for(2)
        listed = await asyncio.to_thread(npu_agent, "list", "--runtime-dir", short_dir / "run", "-o", "json")
    problems = {problem["source"]: problem["text"] for problem in json.loads(listed.stdout)["problems"]}
    assert "503" in problems["node labels"]
    assert json.loads(listed.stdout)["accelerators"][0]["state"] == "healthy"


async def test_a_feature_file_for_nfd_is_there_while_the_agent_is(api: ApiDouble, short_dir: Path) -> None:
    HostTree(short_dir / "host").rngd(0)
    folder = short_dir / "features.d"
    folder.mkdir()
    async with serving(short_dir, {"cluster": {"labels": "nfd-file", "nfd_folder": str(folder)}}):
        text = await until_file(folder / "npu-agent")
    assert text.startswith("# +expiry-time=20")
    assert "\nfuriosa.ai/npu.count=1\n" in text
    assert os.listdir(folder) == []
    assert not api.asked


async def test_an_agent_that_tells_the_cluster_nothing_has_nothing_of_it(short_dir: Path) -> None:
    HostTree(short_dir / "host").rngd(0)
    async with serving(short_dir, {}, interpreter=("-X", "importtime")) as process:
        assert process.stderr is not None
        imported = b""
        while b"found 1 accelerators" not in imported:
            imported += await process.stderr.readline()
        await asyncio.sleep(0.2)
        process.terminate()
        imported += await process.stderr.read()
    assert b"npu_agent.deviceplugin" in imported
    assert b"npu_agent.cluster" not in imported
    assert b" h11" not in imported


def test_a_node_without_a_name_is_one_clear_error(short_dir: Path) -> None:
    (short_dir / "agent.yaml").write_text(json.dumps(HOUR))
    ran = npu_agent("serve", "--config", short_dir / "agent.yaml", "--runtime-dir", short_dir / "run")
    assert ran.returncode == 2
    assert "--node-name or the variable NODE_NAME" in ran.stderr


def test_cleanup_wants_to_know_which_node() -> None:
    ran = npu_agent("cleanup")
    assert ran.returncode == 2
    assert "--all-nodes" in ran.stderr


@pytest.mark.parametrize("name", ["Worker", "a/b", "-a", "a" * 254])
def test_what_no_node_can_be_called_is_refused(short_dir: Path, name: str) -> None:
    (short_dir / "agent.yaml").write_text(json.dumps(HOUR))
    for arguments in (["serve", "--config", short_dir / "agent.yaml", "--runtime-dir", short_dir / "run"], ["cleanup"]):
        ran = npu_agent(*arguments, "--node-name", name)
        assert ran.returncode == 2
        assert "expected what the cluster calls the node" in ran.stderr

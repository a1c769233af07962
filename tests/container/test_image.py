"""The image: what is in it, what it says of itself, and the agent in it, with no more than the chart gives it."""

import json
import os
import re
import signal
import stat
from pathlib import Path

import pytest

import npu_agent as package
from container import binary, image
from npu_agent.cli import COMMANDS
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.container.loaded import Image
from tests.scenarios.eventually import eventually

pytestmark = pytest.mark.image

FILES = Path(__file__).with_name("files.txt")


def test_its_files_are_the_program_and_the_c_library_and_no_others(loaded: Image) -> None:
    seen = sorted(name for name, entry in loaded.files.items() if not entry.isdir())
    assert seen == FILES.read_text().split(), f"if that is meant, write it to {FILES.name}"


def test_nothing_in_it_can_be_run_but_the_program_and_what_the_loader_loads(loaded: Image) -> None:
    executable = {name for name, entry in loaded.files.items() if entry.isfile() and entry.mode & 0o111}
    assert {Path(name).name for name in executable if ".so" not in name} == {"npu-agent"}
    assert all(entry.uid == entry.gid == 0 and not entry.mode & 0o7022 for entry in loaded.files.values())
    assert all(entry.mode & stat.S_IROTH for entry in loaded.files.values()), "another user could not run it"
    assert not any(entry.issym() or entry.islnk() or entry.isdev() for entry in loaded.files.values())


def test_it_is_smaller_than_30_mb(loaded: Image) -> None:
    assert sum(entry.size for entry in loaded.files.values()) <= 30e6


def test_it_says_what_it_is(loaded: Image) -> None:
    said = loaded.configuration["config"]
    assert loaded.names == (f"localhost/npu-agent:{package.__version__}",)
    assert (said["User"], said["Entrypoint"], said["Cmd"]) == ("0:0", ["/opt/npu-agent/npu-agent"], ["serve"])
    assert said["Env"] == ["PATH=/opt/npu-agent"]
    labels = {name.removeprefix("org.opencontainers.image."): text for name, text in said["Labels"].items()}
    assert labels["title"] == "npu-agent"
    assert labels["description"] == (package.__doc__ or "").strip().removesuffix(".")
    assert (labels["version"], labels["revision"], labels["licenses"]) == (package.__version__, image.revision(), "Apache-2.0")
    assert labels["created"] == loaded.configuration["created"]
    assert labels.keys() == {"title", "description", "version", "revision", "licenses", "created"}
    assert loaded.configuration["os"] == "linux"
    assert len(loaded.configuration["rootfs"]["diff_ids"]) == 1


async def test_each_command_runs_in_it(loaded: Image) -> None:
    assert await loaded.run("version") == (0, f"npu-agent {package.__version__}\n")
    for command in COMMANDS:
        status, said = await loaded.run(command, "--help")
        assert status == 0, said
        assert f"npu-agent {command}" in said


async def test_it_lists_the_cards_of_its_configuration_in_any_script(loaded: Image, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("backends: {fake: {accelerators: [{id: npu-0, attributes: {place: 판교}}]}}\n")
    status, said = await loaded.run("list", "-c", "/etc/npu-agent/config.yaml", "-o", "json", mounts={tmp_path: "/etc/npu-agent"})
    assert status == 0, said
    assert "판교" in said


async def test_a_command_that_needs_a_folder_for_its_files_says_so(loaded: Image) -> None:
    status, said = await loaded.run("demo")
    assert status == 1
    assert re.fullmatch(r"npu-agent: the demo has no folder for its files: .*; set TMPDIR to one\n", said)


async def test_the_agent_serves_kubelet_without_a_capability_and_ends_in_order(loaded: Image, short_dir: Path) -> None:
    for name in ("run", "etc"):
        (short_dir / name).mkdir()
    (short_dir / "etc" / "config.yaml").write_text("backends: {fake: {accelerators: 2}}\n")
    async with SimulatedKubelet(short_dir / "kubelet") as kubelet:
        await kubelet.start()
        mounts = {short_dir / "kubelet": "/var/lib/kubelet", short_dir / "run": "/run/npu-agent", short_dir / "etc": "/etc/npu-agent"}
        async with loaded.started("serve", "-c", "/etc/npu-agent/config.yaml", mounts=mounts) as agent:

            async def offered() -> int:
                seen = kubelet.quantities().get("furiosa.ai/npu")
                return seen.allocatable if seen else 0

            await eventually(offered, lambda count: count == 2, within_s=20)
            status = dict(line.split(":\t", 1) for line in Path(f"/proc/{agent.pid}/status").read_text().splitlines())
            assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
            assert (status["Uid"].split()[0], status["NoNewPrivs"]) == ("0", "1")
            os.kill(agent.pid, signal.SIGTERM)
            ended, said = await agent.ended()
            assert ended == 0, said
            assert "SIGTERM: ending in order" in said
    assert list((short_dir / "kubelet" / "device-plugins").glob("npu-agent*")) == []


def test_what_it_is_made_of_lies_beside_it(loaded: Image) -> None:
    document = json.loads((binary.ROOT / "dist" / "npu-agent-image.cdx.json").read_text())
    assert document["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": loaded.digest.removeprefix("sha256:")}]
    components = {component["name"]: component for component in document["components"]}
    locked = binary.REQUIREMENTS.read_text()
    for component in components.values():
        if component.get("purl", "").startswith("pkg:pypi/"):
            assert f"{component['name']}=={component['version']} " in locked
            (digest,) = component["hashes"]
            assert f"--hash=sha256:{digest['content']}" in locked
    assert {
        "grpclib",
        "betterproto2",
        "anyio",
        "msgspec",
        "pyinstaller",
        "python",
        "libc6",
        "libpython3.11",
        "libssl3",
    } <= components.keys()
    files = {each["value"] for component in components.values() for each in component.get("properties", [])}
    assert {f"/{name}" for name in loaded.files if name.startswith("lib") and ".so" in name} <= files

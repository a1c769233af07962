"""`npu-agent cdi`: the specs of a host, printed and written."""

import json
from pathlib import Path

from tests.cli.running import Ran, npu_agent
from tests.host_tree import HostTree


def cdi(root: Path, *options: str | Path) -> Ran:
    return npu_agent("cdi", "--host-root", root / "host", "--pod-resources", root / "none", *options)


def test_the_specs_of_a_host_are_printed(tmp_path: Path) -> None:
    tree = HostTree(tmp_path / "host")
    cards = [tree.rngd(index) for index in range(2)]
    ran = cdi(tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    spec = json.loads(ran.stdout)
    assert (spec["cdiVersion"], spec["kind"]) == ("0.5.0", "furiosa.ai/npu")
    nodes = {one["name"]: {node["path"] for node in one["containerEdits"]["deviceNodes"]} for one in spec["devices"]}
    assert nodes.keys() == {card.uuid for card in cards}
    for card in cards:
        # The tree has no device nodes, so those that a card can do without are left out, such as p2pmem.
        assert f"/dev/rngd/npu{card.index}mgmt" in nodes[card.uuid]
        assert nodes[card.uuid] <= set(card.nodes)


def test_the_specs_are_written_where_they_are_wanted(tmp_path: Path) -> None:
    HostTree(tmp_path / "host").rngd(0)
    ran = cdi(tmp_path, "--write", tmp_path / "etc" / "cdi")
    path = tmp_path / "etc" / "cdi" / "npu-agent-furiosa.ai_npu.json"
    assert (ran.returncode, ran.stdout) == (0, f"{path}\n")
    assert json.loads(path.read_text()) == json.loads(cdi(tmp_path).stdout)


def test_a_folder_that_cannot_be_written_is_status_1_and_one_line(tmp_path: Path) -> None:
    HostTree(tmp_path / "host").rngd(0)
    (tmp_path / "file").write_text("")
    ran = cdi(tmp_path, "--write", tmp_path / "file")
    assert ran.returncode == 1
    assert ran.stderr == f"npu-agent: {tmp_path}/file/npu-agent-furiosa.ai_npu.json cannot be written: File exists\n"


def test_a_host_without_devices_has_no_specs_and_that_is_said(tmp_path: Path) -> None:
    ran = cdi(tmp_path)
    assert (ran.returncode, ran.stdout) == (0, "")
    assert "there is no device to write a spec of" in ran.stderr


def test_a_mistake_in_the_configuration_is_status_2(tmp_path: Path) -> None:
    (tmp_path / "agent.yaml").write_text("cdi: {handover: all, folder: run}\n")
    ran = cdi(tmp_path, "--config", tmp_path / "agent.yaml")
    assert ran.returncode == 2
    assert ran.stderr.splitlines()[1:] == [
        '  line 1: cdi.handover: expected "nodes" or "cdi" or "both", got "all"',
        '  line 1: cdi.folder: expected the whole path of a folder, got "run"',
    ]

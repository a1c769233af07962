"""`npu-agent list`: what it tells of the node, whom it asks, and in which forms."""

import json
import os
import pty
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from npu_agent.schema.document import parse
from tests.cli.conftest import RunningAgent
from tests.cli.running import npu_agent
from tests.host_tree import HostTree
from tests.program import PROGRAM, environment, kill


def columns(table: str) -> list[dict[str, str]]:
    """Return the rows of a table by the titles of their columns, by where the titles begin."""
    head, *lines = table.splitlines()
    titles = head.split()
    starts = [*(head.index(title) for title in titles), None]
    return [{title: line[starts[i] : starts[i + 1]].strip() for i, title in enumerate(titles)} for line in lines]


def test_the_running_agent_is_asked(agent: RunningAgent) -> None:
    assert npu_agent("fake", "fail", "fake-0", "too hot", "--runtime-dir", agent.runtime_dir).returncode == 0
    answer = _listed_when(agent, lambda row: row["id"] == "fake-0" and row["state"] == "unhealthy")
    assert answer["source"] == "agent"
    assert [resource["registration"]["state"] for resource in answer["resources"]] == ["waiting"]
    table = columns(npu_agent("list", "--runtime-dir", agent.runtime_dir).stdout)
    failed = next(row for row in table if row["ID"] == "fake-0")
    assert (failed["STATE"], failed["REASON"]) == ("unhealthy", "too hot")
    assert failed["AGE"].endswith("s")


def _listed_when(agent: RunningAgent, holds: Any) -> dict[str, Any]:
    """Follow the list as lines of JSON until a card is as wanted, and return that list."""
    argv = [PROGRAM, "list", "--watch", "-o", "json", "--runtime-dir", str(agent.runtime_dir)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment(), text=True) as watch:
        assert watch.stdout is not None
        try:
            listings = map(json.loads, watch.stdout)
            return next(listing for listing in listings if any(holds(row) for row in listing["accelerators"]))
        finally:
            watch.kill()


def test_without_an_agent_the_host_itself_is_looked_at_and_that_is_said(configuration: Path, tmp_path: Path) -> None:
    listed = npu_agent("list", "--runtime-dir", tmp_path, "--kubelet-dir", tmp_path, NPU_AGENT_CONFIG=str(configuration))
    assert listed.returncode == 0
    assert f"no agent answers on {tmp_path}/agent.sock: No such file or directory; this is the host itself" in listed.stderr
    assert "kubelet cannot be asked who holds devices" in listed.stderr
    assert columns(listed.stdout) == [
        _row("apart", "npu4", "rngd", "-", "excluded", numa="-", reason="the configuration leaves it out", holder="-"),
        _row("dark", "npu3", "warboy", "-", "unusable", numa="-", reason="no driver is bound to it; load npu_pdma", holder="-"),
        _row("fake-0", "npu0", "rngd", "furiosa.ai/npu", "healthy", firmware="2026.1.0"),
        _row("fake-1", "npu1", "rngd", "furiosa.ai/npu", "healthy", firmware="2026.1.0"),
        _row("left", "npu2", "warboy", "furiosa.ai/npu", "healthy", numa="1", pci="0000:6d:00.0"),
    ]


def _row(
    id: str,
    name: str,
    family: str,
    resource: str,
    state: str,
    *,
    numa: str = "0",
    pci: str = "-",
    firmware: str = "-",
    reason: str = "-",
    holder: str = "?",
) -> dict[str, str]:
    return {
        "ID": id,
        "NAME": name,
        "FAMILY": family,
        "RESOURCE": resource,
        "STATE": state,
        "AGE": "-",
        "HOLDER": holder,
        "NUMA": numa,
        "PCI": pci,
        "FIRMWARE": firmware,
        "REASON": reason,
    }


def test_a_wide_table_has_the_device_nodes_too(configuration: Path, tmp_path: Path) -> None:
    wide = columns(npu_agent("list", "-o", "wide", "-c", configuration, "--runtime-dir", tmp_path).stdout)
    left = next(row for row in wide if row["ID"] == "left")
    assert (left["DRIVER"], left["SERIAL"], left["LOCATION"], left["NODES"]) == ("fake", "S1", "numa1/left", "/dev/null")


def test_json_and_yaml_say_the_same_with_every_field_there(configuration: Path, tmp_path: Path) -> None:
    as_json = npu_agent("list", "-o", "json", "-c", configuration, "--runtime-dir", tmp_path).stdout
    as_yaml = npu_agent("list", "-c", configuration, NPU_AGENT_OUTPUT="yaml", NPU_AGENT_RUNTIME_DIR=str(tmp_path)).stdout
    listing = json.loads(as_json)
    assert parse(as_yaml).data == listing
    left = next(card for card in listing["accelerators"] if card["id"] == "left")
    assert left == {
        "id": "left",
        "backend": "fake",
        "family": "warboy",
        "name": "npu2",
        "resource": "furiosa.ai/npu",
        "state": "healthy",
        "reason": None,
        "since": None,
        "numa_node": 1,
        "pci_address": "0000:6d:00.0",
        "uuid": "A-B",
        "serial": "S1",
        "firmware": None,
        "driver": "fake",
        "location": ["numa1", "left"],
        "device_nodes": ["/dev/null"],
        "attributes": {},
        "notices": [],
        "devices": [
            {
                "id": "left",
                "resource": "furiosa.ai/npu",
                "partition": None,
                "healthy": True,
                "reason": None,
                "withheld": None,
                "since": None,
                "holders": None,
            }
        ],
    }
    assert listing["resources"] == [{"name": "furiosa.ai/npu", "devices": 3, "healthy": 3, "held": None, "registration": None}]
    assert (listing["schema"], listing["source"], listing["problems"]) == (2, "scan", [])


def test_the_cards_of_a_host_are_listed_without_any_configuration(tmp_path: Path) -> None:
    tree = HostTree(tmp_path / "host")
    rngd, warboy, unbound = tree.rngd(index=0, numa_node=1), tree.warboy(index=0, numa_node=-1), tree.unbound("rngd", bdf="0000:c7:00.0")
    listing = json.loads(npu_agent("list", "-o", "json", "--host-root", tree.root, "--runtime-dir", tmp_path).stdout)
    found = {card["pci_address"]: card for card in listing["accelerators"]}
    assert {address: (card["family"], card["name"], card["state"], card["numa_node"], card["uuid"]) for address, card in found.items()} == {
        rngd.bdf: ("rngd", "npu0", "healthy", 1, rngd.uuid),
        warboy.bdf: ("warboy", "npu0", "healthy", None, warboy.uuid),
        unbound.bdf: ("rngd", None, "unusable", 0, None),
    }
    assert set(found[warboy.bdf]["device_nodes"]) <= set(warboy.nodes)
    assert unbound.bdf in found[unbound.bdf]["reason"]
    assert [(resource["name"], resource["healthy"]) for resource in listing["resources"]] == [("furiosa.ai/npu", 2)]


def test_a_host_without_accelerators_is_no_failure(tmp_path: Path) -> None:
    listed = npu_agent("list", "--runtime-dir", tmp_path, "--host-root", tmp_path)
    assert listed.returncode == 0
    assert columns(listed.stdout) == []
    assert "there is no accelerator on this host that a configured backend knows" in listed.stderr


def test_a_table_is_in_colour_on_a_terminal_unless_that_is_not_wanted(configuration: Path, tmp_path: Path) -> None:
    argv = [PROGRAM, "list", "-c", str(configuration), "--runtime-dir", str(tmp_path)]
    assert b"\x1b[32mhealthy" in _on_terminal(argv)
    assert b"\x1b[32mhealthy" in _on_terminal(argv, NO_COLOR="")
    assert b"\x1b[" not in _on_terminal(argv, NO_COLOR="1")
    assert b"\x1b[" not in _on_terminal(argv, TERM="dumb")
    assert "\x1b[" not in npu_agent(*argv[1:]).stdout


def _on_terminal(argv: list[str], **variables: str) -> bytes:
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(argv, stdout=theirs, stderr=subprocess.DEVNULL, env=environment(**variables)):
            os.close(theirs)
            shown = b""
            try:
                while piece := os.read(ours, 65536):
                    shown += piece
            except OSError:  # how Linux says that nobody has the other end of a terminal open any more
                return shown
            return shown
    finally:
        os.close(ours)


def test_a_watch_without_an_agent_finds_the_one_that_starts(configuration: Path, tmp_path: Path) -> None:
    folders = ["--runtime-dir", str(tmp_path / "run"), "--kubelet-dir", str(tmp_path)]
    argv = [PROGRAM, "list", "--watch", "-o", "json", *folders]
    variables = environment(NPU_AGENT_CONFIG=str(configuration))
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=variables) as watch:
        assert watch.stdout is not None
        assert json.loads(watch.stdout.readline())["source"] == "scan"
        with subprocess.Popen([PROGRAM, "serve", *folders], stderr=subprocess.DEVNULL, env=variables) as agent:
            assert json.loads(watch.stdout.readline())["source"] == "agent"
            kill(agent.pid)
        watch.kill()


def test_an_interrupted_watch_ends_quietly_with_130(agent: RunningAgent) -> None:
    argv = [PROGRAM, "list", "--watch", "--runtime-dir", str(agent.runtime_dir)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as watch:
        assert watch.stdout is not None
        watch.stdout.readline()
        watch.send_signal(signal.SIGINT)
        _, said = watch.communicate(timeout=20)
    assert watch.returncode == 130
    assert said == b""


def test_a_reader_that_goes_away_is_no_traceback(agent: RunningAgent) -> None:
    argv = [PROGRAM, "list", "--watch", "-o", "json", "--runtime-dir", str(agent.runtime_dir)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as watch:
        assert watch.stdout is not None
        assert watch.stderr is not None
        watch.stdout.readline()
        watch.stdout.close()
        npu_agent("fake", "fail", "fake-0", "--runtime-dir", agent.runtime_dir)
        assert watch.stderr.read() == b""
        assert watch.wait(timeout=20) == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend", "nope"], "there is no backend 'nope'; there are fake, sysfs"),
        (["--config", "/missing.yaml"], "/missing.yaml: cannot be read: No such file or directory"),
        (["-o", "xml"], "'xml' is not one of 'table', 'wide', 'name', 'json', 'yaml'"),
    ],
)
def test_a_wrong_option_is_status_2_with_one_line_that_says_what_is_wrong(tmp_path: Path, arguments: list[str], said: str) -> None:
    listed = npu_agent("list", "--runtime-dir", tmp_path, *arguments)
    assert listed.returncode == 2
    assert said in listed.stderr
    assert "Traceback" not in listed.stderr


def test_options_that_say_what_to_look_at_are_not_ignored_beside_an_agent(agent: RunningAgent, tmp_path: Path) -> None:
    tree = HostTree(tmp_path / "host")
    card = tree.rngd()
    listed = npu_agent("list", "-o", "json", "--host-root", tree.root, "--runtime-dir", agent.runtime_dir)
    assert "--host-root is given, so no agent is asked; this is the host itself" in listed.stderr
    assert [(one["id"], one["backend"]) for one in json.loads(listed.stdout)["accelerators"]] == [(card.uuid, "sysfs")]


@pytest.mark.parametrize("name", ["left", "npu2", "6d:00.0", "0000:6D:00.0", "a-b", "s1"])
def test_a_card_is_found_by_whatever_it_is_called(configuration: Path, tmp_path: Path, name: str) -> None:
    listed = npu_agent("list", name, "-o", "name", "-c", configuration, "--runtime-dir", tmp_path)
    assert listed.stdout == "left\n"


def test_a_card_that_is_not_there_is_status_1(configuration: Path, tmp_path: Path) -> None:
    listed = npu_agent("list", "nobody", "-c", configuration, "--runtime-dir", tmp_path)
    assert listed.returncode == 1
    assert "there is no accelerator 'nobody'; npu-agent list shows those that there are" in listed.stderr


def test_the_titles_can_be_left_out(configuration: Path, tmp_path: Path) -> None:
    listed = npu_agent("list", "left", "--no-headers", "-c", configuration, "--runtime-dir", tmp_path)
    assert listed.stdout.startswith("left ")


def test_output_that_cannot_be_written_is_status_1_and_one_line(configuration: Path, tmp_path: Path) -> None:
    command = f"{PROGRAM} list -c {configuration} --runtime-dir {tmp_path}"
    for redirection, said in ((">&-", "standard output is closed"), (">/dev/full", "No space left on device")):
        ran = subprocess.run(["sh", "-c", f"{command} {redirection}"], capture_output=True, text=True, env=environment(), check=False)
        assert ran.returncode == 1
        assert ran.stderr.splitlines()[-1] == f"npu-agent: the output cannot be written: {said}"
        assert "Traceback" not in ran.stderr


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_remarks_that_cannot_be_written_cost_nothing(configuration: Path, tmp_path: Path, redirection: str) -> None:
    command = f"{PROGRAM} list left -o name -c {configuration} --runtime-dir {tmp_path} {redirection}"
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, env=environment(), check=False)
    assert (ran.returncode, ran.stdout) == (0, "left\n")


def test_what_an_encoding_does_not_have_is_escaped(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text("backends: {fake: {accelerators: [{id: a, firmware: 한글}]}}\n")
    ran = subprocess.run(
        [PROGRAM, "list", "-c", str(config), "--runtime-dir", str(tmp_path)],
        capture_output=True,
        env=environment(PYTHONIOENCODING="latin-1"),
        check=False,
    )
    assert ran.returncode == 0
    assert rb"\ud55c\uae00" in ran.stdout


@pytest.mark.parametrize("form", ["json", "yaml"])
def test_data_have_no_character_that_steers_a_terminal_and_stay_exact(tmp_path: Path, form: str) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text('backends: {fake: {accelerators: [{id: a, firmware: "1\\x9b2\\u202e\\U0001f600\\u2028"}]}}\n')
    shown = npu_agent("list", "-o", form, "-c", config, "--runtime-dir", tmp_path).stdout
    assert shown.replace("\n", "").isprintable()
    data: Any = json.loads(shown) if form == "json" else parse(shown).data
    assert data["accelerators"][0]["firmware"] == "1\x9b2\u202e\U0001f600\u2028"


def test_an_option_with_an_escape_sequence_is_told_as_plain_text(tmp_path: Path) -> None:
    ran = subprocess.run([PROGRAM, "list", "-o", "\x1b[31mred"], capture_output=True, text=True, env=environment(), check=False)
    assert ran.returncode == 2
    assert "\x1b" not in ran.stderr
    assert r"\x1b[31mred" in ran.stderr


def test_all_of_a_card_is_described(configuration: Path, tmp_path: Path) -> None:
    described = npu_agent("describe", "left", "-c", configuration, "--runtime-dir", tmp_path).stdout
    for line in ("ID:          left", "NUMA node:   1", "PCI address: 0000:6d:00.0", "  left of furiosa.ai/npu: healthy; held by ?"):
        assert line in described.splitlines()
    assert "Whole card:\n  node /dev/null as /dev/fake/npu2 (rw)" in described
    assert "Part pe0-1 (2core):" in described


def test_the_history_of_a_card_s_health_is_described(agent: RunningAgent) -> None:
    npu_agent("fake", "fail", "npu0", "too hot", "--runtime-dir", agent.runtime_dir)
    _listed_when(agent, lambda row: row["id"] == "fake-0" and row["state"] == "unhealthy")
    described = npu_agent("describe", "fake-0", "--runtime-dir", agent.runtime_dir).stdout
    history = described.partition("History of health:\n")[2].splitlines()
    assert [line.split("Z  ")[1] for line in history] == ["unhealthy: too hot", "healthy"]


def test_cards_are_in_the_order_in_which_people_count(tmp_path: Path) -> None:
    config = tmp_path / "agent.yaml"
    config.write_text("backends: {fake: {accelerators: 12}}\n")
    listed = npu_agent("list", "-o", "name", "-c", config, "--runtime-dir", tmp_path)
    assert listed.stdout.split() == [f"fake-{number}" for number in range(12)]


def test_what_nobody_has_to_read_is_not_asked_to_be_readable(configuration: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_, **__: False)  # as /var/lib/kubelet is for an ordinary user
    listed = npu_agent("list", "-o", "name", "-c", configuration, "--kubelet-dir", tmp_path, "--runtime-dir", tmp_path)
    assert listed.returncode == 0
    assert "left" in listed.stdout.splitlines()
    assert "kubelet cannot be asked who holds devices" in listed.stderr

"""What a command cannot write, or what nobody should see raw, on the standard streams of a process of its own."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from npu_agent.schema.document import parse
from tests.cli.conftest import RunningAgent
from tests.cli.running import npu_agent
from tests.program import PROGRAM, environment

FAKE = """
backends: {fake: {accelerators: [{id: a, firmware: "펌웨어 \U0001f600", serial: "x\\x9b\\u202ey\\e[2J"}]}}
"""


@pytest.fixture
def odd(tmp_path: Path) -> Path:
    path = tmp_path / "odd.yaml"
    path.write_text(FAKE)
    return path


def shell(command: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """Run a line of sh in which `$P` is the program."""
    return subprocess.run(["sh", "-c", command], capture_output=True, env=environment(P=PROGRAM, **variables), check=False)


@pytest.mark.parametrize("arguments", ["--help", "list --help", "--version", "version", "config schema", "list -b fake -o json"])
@pytest.mark.parametrize("stream", [">/dev/full", ">&-"])
def test_an_output_that_cannot_be_written_is_status_1_and_one_line_whoever_writes_it(tmp_path: Path, arguments: str, stream: str) -> None:
    ran = shell(f'"$P" {arguments} {stream}', NPU_AGENT_RUNTIME_DIR=str(tmp_path))
    assert ran.returncode == 1
    assert ran.stderr.splitlines()[-1].startswith(b"npu-agent: the output cannot be written: ")
    assert b"Traceback" not in ran.stderr


@pytest.mark.parametrize("streams", [">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full"])
def test_where_nothing_can_be_said_the_status_says_it(streams: str) -> None:
    assert shell(f'"$P" version {streams}').returncode == 1
    assert shell(f'"$P" nope {streams}').returncode == 2


@pytest.mark.parametrize("form", ["json", "yaml"])
@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "utf-8"])
def test_data_are_exact_in_every_encoding(odd: Path, form: str, encoding: str) -> None:
    ran = shell(f'"$P" list -c {odd} -o {form}', PYTHONIOENCODING=encoding)
    text = ran.stdout.decode(encoding)
    card = (json.loads(text) if form == "json" else parse(text).data)["accelerators"][0]  # type: ignore[index]
    assert (card["firmware"], card["serial"]) == ("펌웨어 \U0001f600", "x\x9b\u202ey\x1b[2J")
    assert all(character.isprintable() or character == "\n" for character in text)


@pytest.mark.parametrize("arguments", [["describe", "a"], ["list"], ["list", "-o", "wide"], ["list", "-o", "name"]])
def test_nothing_of_a_card_steers_the_terminal(odd: Path, arguments: list[str]) -> None:
    shown = npu_agent(*arguments, "-c", odd).stdout
    assert all(character.isprintable() or character == "\n" for character in shown)


def test_what_is_no_text_in_a_path_costs_no_answer(odd: Path, tmp_path: Path) -> None:
    root = os.fsdecode(bytes(tmp_path) + b"/\xff\xfe")
    listed = npu_agent("list", "-c", odd, "--host-root", root, "-o", "json")
    assert (listed.returncode, [card["id"] for card in json.loads(listed.stdout)["accelerators"]]) == (0, ["a"])


def test_an_argument_that_is_no_text_is_refused_in_one_line(agent: RunningAgent) -> None:
    ran = subprocess.run(
        [PROGRAM, "fake", "fail", b"a\xff", "--runtime-dir", str(agent.runtime_dir)], capture_output=True, env=environment(), check=False
    )
    assert ran.returncode == 1
    assert ran.stderr.startswith(b"npu-agent: there is no card ")
    assert len(ran.stderr.splitlines()) == 1


def test_what_the_simulated_kubelet_is_told_does_not_steer_the_terminal(short_dir: Path) -> None:
    ran = subprocess.run(
        [PROGRAM, "simulate-kubelet", "--kubelet-dir", str(short_dir)],
        input=b"\x1b[31mRED\nquit\n",
        capture_output=True,
        env=environment(),
        check=False,
        timeout=20,
    )
    assert ran.returncode == 0
    assert b"\x1b" not in ran.stdout
    assert rb"\x1b[31mRED" in ran.stdout

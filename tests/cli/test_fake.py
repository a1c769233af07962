"""`npu-agent fake`: what is said by the running agent, and where none runs."""

from pathlib import Path

import pytest

from tests.cli.conftest import RunningAgent
from tests.cli.running import npu_agent


def test_commands_reach_the_running_agent_and_its_answer_is_printed(agent: RunningAgent) -> None:
    for arguments, told in (
        (["fail", "fake-0", "too", "hot"], "fake-0 fails from the next probe on"),
        (["heal", "fake-0"], "fake-0 reads well from the next probe on"),
        (["hang", "fake-0", "0.1"], "reads of fake-0 hang for 0.1 s"),
        (["hang", "fake-0"], "reads of fake-0 hang until it is healed"),
        (["slow", "fake-0", "0.01"], "each read of fake-0 takes 0.01 s"),
        (["unusable", "fake-0", "asleep"], "fake-0 cannot be given to containers any more"),
        (["remove", "fake-0"], "fake-0 is removed"),
        (["add", "fake-0"], "fake-0 is added"),
        (["add"], "fake-2 is added"),
    ):
        done = npu_agent("fake", *arguments, NPU_AGENT_RUNTIME_DIR=str(agent.runtime_dir))
        assert (done.returncode, done.stdout, done.stderr) == (0, f"{told}\n", "")


def test_what_the_agent_refuses_is_status_1_with_its_words(agent: RunningAgent) -> None:
    refused = npu_agent("fake", "fail", "npu9", "--runtime-dir", agent.runtime_dir)
    assert refused.returncode == 1
    assert refused.stderr == "npu-agent: there is no card 'npu9'; there are fake-0, fake-1, left, dark, apart\n"


def test_without_an_agent_it_is_said_how_to_start_one(tmp_path: Path) -> None:
    refused = npu_agent("fake", "heal", "fake-0", "--runtime-dir", tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.startswith(f"npu-agent: no agent answers on {tmp_path}/agent.sock: No such file or directory; start one with")


@pytest.mark.parametrize("arguments", [["fail"], ["hang", "fake-0", "soon"], ["slow", "fake-0", "-1"], ["explode", "fake-0"]])
def test_a_wrong_use_is_status_2(arguments: list[str]) -> None:
    refused = npu_agent("fake", *arguments)
    assert refused.returncode == 2
    assert "Traceback" not in refused.stderr


def test_the_shell_completes_the_ids_of_the_running_agent(agent: RunningAgent) -> None:
    def completed(words: str) -> list[str]:
        count = str(len(words.split(" ")) - 1)
        return npu_agent(_NPU_AGENT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=count).stdout.split()

    assert completed(f"npu-agent fake fail --runtime-dir {agent.runtime_dir} fake") == ["fake-0", "fake-1"]
    assert completed("npu-agent fake fail --runtime-dir /missing f") == []

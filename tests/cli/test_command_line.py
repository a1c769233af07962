"""The command line as a whole: what it costs, how it helps, and how it ends."""

import subprocess
import sys

import pytest

import npu_agent as package
from npu_agent.cli import COMMANDS
from tests.cli.running import npu_agent
from tests.program import PROGRAM, environment


def test_version_is_that_of_the_package() -> None:
    assert npu_agent("version").stdout == f"npu-agent {package.__version__}\n"


def test_python_runs_the_package_as_well() -> None:
    ran = subprocess.run([sys.executable, "-m", "npu_agent", "version"], capture_output=True, text=True, check=True, env=environment())
    assert ran.stdout == npu_agent("version").stdout


def test_a_command_imports_no_other_and_nothing_heavy_before_it_needs_it() -> None:
    program = "import sys; sys.argv = ['npu-agent', 'version']; from npu_agent.cli import main; import atexit"
    program += "; atexit.register(lambda: print(*sys.modules)); main()"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env=environment())
    modules = set(ran.stdout.split())
    assert not modules & {
        "rich",
        "asyncio",
        "anyio",
        "grpclib",
        "betterproto2",
        "msgspec",
        "yaml",
        "importlib.metadata",
        "npu_agent.cli.serve",
    }


def test_the_help_names_every_command_and_the_exit_codes() -> None:
    helped = npu_agent("--help")
    assert helped.returncode == 0
    assert all(f"\n  {name} " in helped.stdout for name in COMMANDS)
    assert "Exit codes: 0 done, 1 it failed, 2 a wrong option or configuration" in helped.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str) -> None:
    helped = npu_agent(name, "-h")
    assert (helped.returncode, helped.stderr) == (0, "")
    assert helped.stdout.startswith(f"Usage: npu-agent {name}")


@pytest.mark.parametrize("arguments", [["nope"], ["--nope"], ["version", "extra"], ["serve", "--log-level", "loud"]])
def test_a_wrong_use_is_status_2_without_a_traceback(arguments: list[str]) -> None:
    refused = npu_agent(*arguments)
    assert refused.returncode == 2
    assert "Usage: npu-agent" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_variable_is_as_good_as_an_option_and_as_well_checked() -> None:
    refused = npu_agent("serve", NPU_AGENT_LOG_LEVEL="loud")
    assert refused.returncode == 2
    assert "NPU_AGENT_LOG_LEVEL" in refused.stderr


@pytest.mark.parametrize(
    ("shell", "script"), [("bash", "complete -o"), ("zsh", "#compdef npu-agent"), ("fish", "complete --command npu-agent")]
)
def test_shells_can_complete(shell: str, script: str) -> None:
    """The program looks for the shell that it was called from, so it is called from a process of that name."""
    called = f'exec -a {shell} bash -c \'"$0" --show-completion; exit $?\' "$0"'
    shown = subprocess.run(["bash", "-c", called, PROGRAM], capture_output=True, text=True, check=False, env=environment())
    assert (shown.returncode, script in shown.stdout, "_NPU_AGENT_COMPLETE" in shown.stdout) == (0, True, True), shown


def test_the_shell_completes_commands_and_choices() -> None:
    def completed(words: str, position: int) -> list[str]:
        return npu_agent(_NPU_AGENT_COMPLETE="complete_bash", COMP_WORDS=words, COMP_CWORD=str(position)).stdout.split()

    assert completed("npu-agent con", 1) == ["config"]
    assert completed("npu-agent config ", 2) == ["check", "show", "schema"]
    assert completed("npu-agent list --output ", 3) == ["table", "wide", "name", "json", "yaml"]

"""The program under test: every process of an agent or of a command that tests and benchmarks start is of this one.

It is that of the environment that runs the tests; NPU_AGENT_PROGRAM names another, such as dist/npu-agent.
"""

import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

PROGRAM = str(Path(os.environ.get("NPU_AGENT_PROGRAM") or Path(sys.executable).with_name("npu-agent")).absolute())


def environment(**variables: str) -> dict[str, str]:
    """Return this process's environment without what configures npu-agent, and with `variables`."""
    return {name: value for name, value in os.environ.items() if not name.startswith("NPU_AGENT_")} | variables


def agent_pid(pid: int) -> int:
    """Return the process that is the agent, where `pid` is the one that was started.

    The binary of one file unpacks itself and starts the agent as its child, which it waits for.
    """
    with suppress(FileNotFoundError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            if os.path.realpath(f"/proc/{child}/exe") == os.path.realpath(f"/proc/{pid}/exe"):
                return int(child)
    return pid


def kill(pid: int) -> None:
    """Kill the agent that was started as `pid`. What it was started by ends with it, and cleans up."""
    with suppress(ProcessLookupError):
        os.kill(agent_pid(pid), signal.SIGKILL)

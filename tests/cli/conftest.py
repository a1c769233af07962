"""A running agent with fake cards, for the commands that ask one."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import anyio
import pytest

from tests.cli.running import answers
from tests.program import PROGRAM, environment, kill

CONFIGURATION = """
backends:
  fake:
    accelerators:
      - {count: 2, numa_node: 0, firmware: 2026.1.0, pci_address: "", nodes: ["{name}mgmt", "{name}pe0"]}
      - {id: left, family: warboy, numa_node: 1, pci_address: 0000:6d:00.0, uuid: A-B, serial: S1}
      - {id: dark, family: warboy, unusable: "no driver is bound to it; load npu_pdma"}
      - {id: apart}
exclude: {ids: apart}
probe_interval_s: 0.1
"""


@dataclass(frozen=True, slots=True)
class RunningAgent:
    """An agent process, its folder and its configuration file."""

    runtime_dir: Path
    configuration: Path
    process: subprocess.Popen[bytes]


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    path = tmp_path / "agent.yaml"
    path.write_text(CONFIGURATION)
    return path


@pytest.fixture
def agent(tmp_path: Path, configuration: Path) -> Iterator[RunningAgent]:
    runtime_dir = tmp_path / "run"
    folders = ["--runtime-dir", str(runtime_dir), "--kubelet-dir", str(tmp_path / "kubelet")]
    with subprocess.Popen(
        [PROGRAM, "serve", "--config", str(configuration), *folders], env=environment(), stderr=subprocess.DEVNULL
    ) as process:
        try:
            anyio.run(answers, runtime_dir)
            yield RunningAgent(runtime_dir, configuration, process)
        finally:
            if process.poll() is None:
                kill(process.pid)

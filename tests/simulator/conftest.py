from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.simulator.own_task import in_own_task
from tests.simulator.simulated_node import SimulatedNode


@pytest.fixture
async def kubelet(short_dir: Path) -> AsyncIterator[SimulatedKubelet]:
    """A simulated kubelet of the newest version that is imitated, running."""
    async with in_own_task(SimulatedKubelet(short_dir, start_retry_s=0.05, seed=1)) as kubelet:
        await kubelet.start()
        yield kubelet


@pytest.fixture
def node(kubelet: SimulatedKubelet, short_dir: Path) -> SimulatedNode:
    """The node of the scenarios, on the simulated kubelet."""
    work = short_dir / "work"
    work.mkdir()
    return SimulatedNode(kubelet, work)

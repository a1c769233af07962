"""The scenarios about kubelet itself, with the simulated one on both sides of each difference between releases."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.scenarios.plugin_allocation import *  # noqa: F403
from tests.scenarios.plugin_registration import *  # noqa: F403
from tests.scenarios.plugin_restarts import *  # noqa: F403
from tests.simulator.own_task import in_own_task


@pytest.fixture(params=["1.28.15", "1.29.15", "1.32.13", "1.33.13", "1.34.4", "1.35.4", "1.36.3", "1.37.2"])
async def kubelet(short_dir: Path, request: pytest.FixtureRequest) -> AsyncIterator[SimulatedKubelet]:
    simulated = SimulatedKubelet(short_dir, version=request.param, dial_timeout_s=0.8, start_retry_s=0.05, seed=1)
    async with in_own_task(simulated) as kubelet:
        await kubelet.start()
        yield kubelet

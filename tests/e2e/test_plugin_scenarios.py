"""What kubelet makes of any plugin, on the real node: the reasons for how the agent behaves, and what the simulated kubelet imitates."""

import pytest

from tests.e2e.node import RealNode
from tests.scenarios.plugin_allocation import *  # noqa: F403
from tests.scenarios.plugin_registration import *  # noqa: F403
from tests.scenarios.plugin_restarts import *  # noqa: F403


@pytest.fixture(autouse=True)
async def device_nodes(node: RealNode) -> None:
    """Make the nodes of the devices that the plugin of the scenarios gives out."""
    for name in ("a", "b", "c", "d"):
        status, output = await node.machine.call("mknod", f"/dev/{name}", "c", "1", "3")
        assert status == 0, output

"""Somebody else registers the agent's resource with the same kubelet."""

import os
import time

from tests.scenarios.agent import Agent
from tests.scenarios.node import Node, pod
from tests.scenarios.seen import NPU, held, shows
from tests.scenarios.versions import since
from tests.simulator.plugin import Plugin

BACK_WITHIN_S = 3.0


async def test_a_stranger_that_registers_our_resource_and_leaves_costs_at_most_3_s(node: Node) -> None:
    folder = node.kubelet_dir / "device-plugins"
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        await node.run_pod(pod("one", npu=1))
        before = await held(node, "one")
        async with Plugin(folder, "stranger.sock", resource=NPU, x=True, y=True, z=True) as stranger:
            assert await stranger.register() is None
            await shows(node, 3, 3)
        (folder / "stranger.sock").unlink()
        began = time.monotonic()
        await shows(node, 2, 2)
        assert time.monotonic() - began < BACK_WITHIN_S, agent.said()
        assert await held(node, "one") == before
        await node.run_pod(pod("two", npu=1))
        assert not await held(node, "two") & before


async def test_a_stranger_that_stays_is_told_of_and_not_fought_and_the_agent_is_back_when_it_leaves(node: Node) -> None:
    """It is killed, so it leaves its socket behind."""
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        async with Plugin(node.kubelet_dir / "device-plugins", "stranger.sock", resource=NPU, x=True) as stranger:
            assert await stranger.register() is None
            await agent.says(f"another device plugin serves this resource: stranger.sock of process {os.getpid()} (")
            # A card that fails is a list that differs, which would make kubelet hand out our cards by the stranger's answers.
            await agent.fake("fail", "fake-0")
            await shows(node, 1, 1)
            assert stranger.calls_of("list") == [()]
        began = time.monotonic()
        await shows(node, 2, 1)
        assert time.monotonic() - began < BACK_WITHIN_S, agent.said()


async def test_a_stranger_of_the_same_devices_that_leaves_is_noticed(node: Node) -> None:
    folder = node.kubelet_dir / "device-plugins"
    async with Agent(node, cards=2) as agent:
        await shows(node, 2, 2)
        async with Plugin(folder, "stranger.sock", resource=NPU, **{"fake-0": True, "fake-1": True}) as stranger:
            assert await stranger.register() is None
            began = time.monotonic()
        (folder / "stranger.sock").unlink()
        if not since(node, "1.37"):
            await shows(node, 2, 0)
        await shows(node, 2, 2)
        assert time.monotonic() - began < BACK_WITHIN_S, agent.said()
        await node.run_pod(pod("one", npu=2))
        assert await node.allocations("one")

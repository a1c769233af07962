"""A real node whose host has cards by what its files say, and an agent that finds them."""

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from tests.e2e.device_nodes import harmless_devices, make_node
from tests.e2e.node import RealNode
from tests.host_tree import Card, HostTree
from tests.scenarios.agent import Agent
from tests.scenarios.seen import shows


@dataclass(frozen=True)
class Host:
    """A host with two cards and an agent. The nodes of a card are in the tree and in the machine's /dev, all of one device number."""

    agent: Agent
    tree: HostTree
    cards: dict[str, Card]
    devices: dict[str, int]


@asynccontextmanager
async def two_cards(node: RealNode, family: str, **configuration: Any) -> AsyncIterator[Host]:
    """Put two cards of a family into the machine of `node`, and run an agent with `configuration` until kubelet has both."""
    tree = HostTree(node.work / "host")
    cards = {card.uuid: card for card in (getattr(tree, family)(index) for index in range(2))}
    devices = dict(zip(cards, harmless_devices(), strict=False))
    for uuid, card in cards.items():
        for path in card.nodes:
            make_node(tree.root / path.lstrip("/"), devices[uuid])
        # The driver tells the number of its node, which is what the agent believes of it.
        tree.set(card, "dev", f"{os.major(devices[uuid])}:{os.minor(devices[uuid])}\n")
    status, output = await node.machine.call("cp", "-a", f"{tree.root}/dev/.", "/dev")
    assert status == 0, output
    async with AsyncExitStack() as stack:
        agent = Agent(node, backends={"sysfs": {}}, **configuration)
        await agent.start("--host-root", str(tree.root))
        stack.push_async_exit(agent)
        await shows(node, 2, 2)
        yield Host(agent, tree, cards, devices)

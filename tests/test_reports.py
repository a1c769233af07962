"""Faults of identity that were reported of this program, with their small inputs, on an agent process and the simulated kubelet."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import pytest

from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.errors import PodRejected
from npu_agent.simulator.kubelet import SimulatedKubelet
from npu_agent.simulator.pods import Container, Pod
from tests.host_tree import HostTree
from tests.program import PROGRAM
from tests.scenarios.agent import Agent
from tests.scenarios.eventually import eventually
from tests.scenarios.held import paths_allocated
from tests.simulator.own_task import in_own_task
from tests.simulator.simulated_node import SimulatedNode

NPU = "furiosa.ai/npu"
WITHIN_S = 20.0


class SysfsAgent(Agent):
    """`npu-agent serve` with the sysfs backend on a host tree."""

    def __init__(self, node: SimulatedNode, tree: HostTree) -> None:
        super().__init__(node, scan_interval_s=0.2)
        self.configuration = {**self.configuration, "backends": {"sysfs": {}}}
        self._tree = tree

    async def start(self, *options: str) -> None:
        await super().start("--host-root", str(self._tree.root), *options)


@dataclass
class Site:
    kubelet: SimulatedKubelet
    node: SimulatedNode
    tree: HostTree

    async def shows(self, capacity: int, allocatable: int) -> None:
        wanted = Quantity(capacity, allocatable)
        with anyio.fail_after(WITHIN_S):
            await self.kubelet.until(lambda: self.kubelet.quantities().get(NPU) == wanted)

    async def nodes_of(self, name: str) -> frozenset[str]:
        """Run a pod that asks for one, and return the device nodes that it got."""
        await self.kubelet.run_pod(Pod(name, (Container("main", {NPU: 1}),)))
        return frozenset(paths_allocated(self.kubelet.kubelet_dir, self.kubelet.pod(name).uid)["main"])

    def ids(self) -> Mapping[str, str]:
        """Return who holds what by kubelet's books."""
        held = {state.pod.name: self.kubelet.held(state.pod.name)["main"] for state in self.kubelet.pods() if not state.failed}
        return {name: next(iter(resources[NPU])) for name, resources in held.items()}


@pytest.fixture
async def site(short_dir: Path) -> AsyncIterator[Site]:
    async with in_own_task(SimulatedKubelet(short_dir / "kubelet", seed=1)) as kubelet:
        await kubelet.start()
        (short_dir / "work").mkdir()
        yield Site(kubelet, SimulatedNode(kubelet, short_dir / "work"), HostTree(short_dir / "host"))


async def test_a_newcomer_with_the_uuid_of_a_held_card_gets_another_name_and_is_given_next(site: Site) -> None:
    """A1: two functions with one uuid."""
    first = site.tree.rngd(0, uuid="SAME")
    async with SysfsAgent(site.node, site.tree):
        await site.shows(1, 1)
        of_a = await site.nodes_of("a")
        second = site.tree.rngd(1, uuid="SAME")
        await site.shows(2, 2)
        assert site.ids()["a"] == "SAME"
        of_b = await site.nodes_of("b")
        assert of_a <= set(first.nodes)
        assert of_b <= set(second.nodes)
        with pytest.raises(PodRejected):
            await site.nodes_of("c")


@pytest.mark.parametrize("between", [(), ("agent",), ("kubelet",), ("agent", "kubelet"), ("kubelet", "agent")], ids=" and ".join)
async def test_a_card_whose_uuid_appears_while_it_is_held_keeps_its_name(site: Site, between: Sequence[str]) -> None:
    """A2: a card that was offered under its address."""
    card = site.tree.rngd(0, uuid="LATE")
    for name in ("device_uuid", "device_sn"):
        site.tree.set(card, name, None)
    async with SysfsAgent(site.node, site.tree) as agent:
        await site.shows(1, 1)
        await site.nodes_of("a")
        assert site.ids() == {"a": "0000-27-00.0"}
        site.tree.set(card, "device_uuid", "LATE\n")
        site.tree.set(card, "device_sn", "S1\n")
        for what in between:
            if what == "agent":
                await agent.kill()
                await agent.start()
            else:
                await site.kubelet.restart()
        await agent.says("registered with kubelet")
        await site.shows(1, 1)
        with pytest.raises(PodRejected):
            await site.nodes_of("b")


async def test_a_card_that_got_the_nodes_of_a_held_one_is_withheld_and_the_list_says_why(site: Site) -> None:
    """The kernel numbered cards anew under a pod."""
    first = site.tree.rngd(0, uuid="FIRST")
    async with SysfsAgent(site.node, site.tree) as agent:
        await site.shows(1, 1)
        await site.nodes_of("a")
        site.tree.remove(first)
        site.tree.rngd(0, uuid="SECOND", serial="ANOTHER", bdf="0000:c7:00.0")
        await site.shows(2, 0)

        async def state() -> dict[str, Any]:
            argv = site.node.command(PROGRAM, "list", "-o", "json", "--runtime-dir", str(agent.runtime_dir))
            listed = await anyio.run_process(argv)
            cards: dict[str, dict[str, Any]] = {card["id"]: card for card in json.loads(listed.stdout)["accelerators"]}
            return cards.get("SECOND", {})

        card = await eventually(state, lambda one: one.get("state") == "withheld", within_s=WITHIN_S)
        assert "was given to whoever holds FIRST of furiosa.ai/npu" in card["reason"]
        with pytest.raises(PodRejected):
            await site.nodes_of("b")


async def test_a_plain_file_is_given_only_in_a_test_bed_that_says_so(site: Site) -> None:
    """A8: a device node that is believed by its name."""
    card = site.tree.rngd(0)
    for path in card.nodes:
        node = site.tree.root / path.lstrip("/")
        node.unlink()
        node.touch()
    async with SysfsAgent(site.node, site.tree) as agent:
        await site.shows(1, 1)
        with pytest.raises(PodRejected, match="npu0mgmt is a plain file and no character device"):
            await site.nodes_of("a")
        await agent.stop()
        await agent.start("--allow-plain-files")
        await site.shows(1, 1)
        assert await site.nodes_of("b") == set(card.nodes)

"""Hardware that a pod holds is given to no other, whatever becomes of the texts by which it is named: any events, in any order."""

import asyncio
import os
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from npu_agent.core.state import Holders
from npu_agent.node import holding
from npu_agent.observe.errors import HoldersUnknown
from npu_agent.observe.podresources import PodResources
from npu_agent.simulator.errors import PodRejected
from npu_agent.simulator.kubelet import SimulatedKubelet
from npu_agent.simulator.pods import Container, Pod
from tests.node.machine import Agent, Machine, agent_on
from tests.node.watched import NPU, Clock, Folder
from tests.scenarios.held import paths_allocated
from tests.simulator.own_task import in_own_task

CARDS = 3
STEPS = int(os.environ.get("IDENTITY_STEPS", "400"))
STEPS_AT_ONCE = 40


class World:
    """A machine, a kubelet and an agent, with who was given what: for each pod its device nodes and the cards that they then opened."""

    def __init__(self, folder: Path) -> None:
        self.machine = Machine(CARDS)
        self.folder = folder
        self.kubelet = SimulatedKubelet(folder / "kubelet", seed=1)
        self.clock = Clock()
        self.store = Folder()
        self.deaf = False
        """Whether PodResources cannot be asked."""
        self.given: dict[str, tuple[frozenset[str], frozenset[int]]] = {}
        self.pods = 0
        self.agent: Agent | None = None
        self._agent_stack = AsyncExitStack()
        self._stack = AsyncExitStack()
        for index in range(2 * CARDS):
            (folder / "dev").mkdir(exist_ok=True)
            (folder / f"dev/npu{index}").touch()

    async def start(self) -> None:
        await self._stack.enter_async_context(in_own_task(self.kubelet))
        await self.kubelet.start()
        await self.start_agent()

    async def end(self) -> None:
        await self.end_agent()
        await self._stack.aclose()

    async def ask(self) -> tuple[Holders | None, str]:
        if self.deaf:
            return None, "kubelet cannot be asked"
        try:
            return await PodResources(self.kubelet.kubelet_dir / "pod-resources/kubelet.sock").holders(), ""
        except HoldersUnknown as error:
            return None, str(error)

    async def start_agent(self) -> None:
        running: AbstractAsyncContextManager[Agent] = agent_on(
            self.machine, self.kubelet.plugin_dir, self.folder, ask=self.ask, store=self.store, clock=self.clock
        )
        self.agent = await self._agent_stack.enter_async_context(in_own_task(running))

    async def end_agent(self) -> None:
        self.agent = None
        await self._agent_stack.aclose()
        self._agent_stack = AsyncExitStack()

    async def settle(self) -> None:
        """Let the agent see the machine, and kubelet the agent's list."""
        self.clock.at += 5
        if self.agent is None:
            return
        await self.agent.settle()
        await self.agent.node.look_at_holders()
        if self.kubelet.is_running:
            with anyio.fail_after(10):
                await self.kubelet.until(self._kubelet_knows)

    def _kubelet_knows(self) -> bool:
        assert self.agent is not None
        seen = self.kubelet.quantities().get(NPU)
        return seen is not None and seen.allocatable == len(self.agent.healthy())

    async def run_pod(self) -> None:
        self.pods += 1
        name = f"pod-{self.pods}"
        try:
            await self.kubelet.run_pod(Pod(name, (Container("main", {NPU: 1}),)))
        except PodRejected:
            self.kubelet.delete_pod(name)
            return
        nodes = frozenset(paths_allocated(self.kubelet.kubelet_dir, self.kubelet.pod(name).uid)["main"])
        cards = frozenset(map(self.machine.owner, nodes))
        for other, (held_nodes, held_cards) in self.given.items():
            assert not nodes & held_nodes, f"{name} was given {sorted(nodes & held_nodes)}, which {other} has"
            assert not cards & held_cards, f"{name} was given the hardware of {other}: cards {sorted(cards & held_cards)}"
        self.given[name] = nodes, cards

    def delete_pod(self, name: str) -> None:
        del self.given[name]
        self.kubelet.delete_pod(name)


NUMBERS = st.integers(0, CARDS - 1)


class Identity(RuleBasedStateMachine):
    """Events happen to the machine, to kubelet, to the agent and to pods. What is asserted is in `World.run_pod`."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="npu-")
        self.runner = asyncio.Runner()
        self.world = World(Path(self._folder.name))
        self.do(self.world.start)
        # What a card said of itself when the agent last saw it: a card that says nothing and moves while nobody looks is a stranger.
        self.seen = {card.number: card.says for card in self.world.machine.cards}

    def do(self, event: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.runner.run(event())

    def look(self) -> None:
        """Let everybody see what happened, and let a pod come where two are not there: each event may make one unsafe."""
        self.do(self.world.settle)
        if self.world.agent is not None and self.world.kubelet.is_running and len(self.world.given) < 2:
            self.do(self.world.run_pod)
        if self.world.agent is not None:
            self.seen.update({card.number: card.says for card in self.world.machine.cards if card.present})

    @rule(event=st.sampled_from(["appears", "vanishes", "lies", "is pulled out", "is put back"]), number=NUMBERS, other=NUMBERS)
    def a_card(self, event: str, number: int, other: int) -> None:
        """What a card says of itself changes, or it goes and comes back."""
        card = self.world.machine.cards[number]
        match event:
            case "appears":
                card.says = f"UUID-{number}"
            # While nobody looks, a card that is held may not become one that nothing tells from a stranger.
            case "vanishes" if self.world.agent is not None:
                card.says = ""
            case "lies" if self.world.agent is not None:
                card.says = f"UUID-{other}"
            case "is pulled out":
                card.present = False
            case "is put back":
                card.present = True
        self.look()

    @rule(number=NUMBERS, slot=st.integers(0, 2 * CARDS - 1))
    def a_card_moves(self, number: int, slot: int) -> None:
        cards = self.world.machine.cards
        card = cards[number]
        said = [other.says for other in cards]
        is_known = card.says and said.count(card.says) == 1 and self.seen[number] == card.says
        if is_known and all(other.slot != slot for other in cards):
            card.slot = slot
        self.look()

    @rule(first=NUMBERS, second=NUMBERS)
    def the_kernel_numbers_cards_anew(self, first: int, second: int) -> None:
        one, other = self.world.machine.cards[first], self.world.machine.cards[second]
        one.index, other.index = other.index, one.index
        self.look()

    @rule(event=st.sampled_from(["restarts", "ends", "starts"]))
    def the_agent(self, event: str) -> None:
        if event != "starts" and self.world.agent is not None:
            self.do(self.world.end_agent)
        if event != "ends" and self.world.agent is None:
            self.do(self.world.start_agent)
        self.look()

    @rule(event=st.sampled_from(["restarts", "cannot be asked", "can be asked", "is there for a while"]))
    def kubelet(self, event: str) -> None:
        match event:
            case "restarts":
                self.do(self.world.kubelet.restart)
                if self.world.agent is not None:
                    self.world.agent.node.kubelet_changed()
            case "cannot be asked" | "can be asked":
                self.world.deaf = event == "cannot be asked"
            case _:
                self.world.clock.at += 400
                self.look()
        self.look()

    @rule(which=st.integers(0, CARDS - 1), come=st.booleans())
    def a_pod_comes_or_goes(self, which: int, come: bool) -> None:
        given = sorted(self.world.given)
        if given and (not come or len(given) == CARDS):
            self.world.delete_pod(given[which % len(given)])
        self.look()
        if self.world.agent is not None and come:
            self.do(self.world.run_pod)

    def teardown(self) -> None:
        self.do(self.world.end)
        self.runner.close()
        self._folder.cleanup()


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "AGAIN_S", 0.005)


class TestIdentity(Identity.TestCase):  # type: ignore[misc, valid-type]
    settings = settings(max_examples=max(STEPS // STEPS_AT_ONCE, 1), stateful_step_count=STEPS_AT_ONCE, print_blob=True)

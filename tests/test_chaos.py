"""Five hundred events at random on both sides, and kubelet's view equals the host's after each dozen of them.

`CHAOS_SEED=N make test` runs the events of a printed seed again; when they meet what the processes are doing still varies.
"""

import asyncio
import json
import os
import random
import time
from asyncio.subprocess import Process
from collections.abc import Awaitable, Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

from npu_agent.control.client import AgentClient
from npu_agent.control.errors import AgentUnreachable
from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.errors import PodRejected
from npu_agent.simulator.faults import RegisterFault
from npu_agent.simulator.kubelet import SimulatedKubelet
from npu_agent.simulator.pods import Container, Pod
from tests.program import PROGRAM, kill
from tests.scenarios.eventually import eventually

NPU = "furiosa.ai/npu"
EVENTS = 500
AT_ONCE = 12
SETTLED_WITHIN_S = 2.0
CARDS = [f"fake-{number}" for number in range(6)]
CONFIGURATION = {
    "backends": {"fake": {"accelerators": len(CARDS)}},
    "probe_interval_s": 0.05,
    "probe_timeout_s": 0.1,
    "scan_interval_s": 0.2,
    "recover_after": 2,
}


class Node:
    """A simulated kubelet, an agent process, and what is true of the cards."""

    def __init__(self, folder: Path, kubelet: SimulatedKubelet, rng: random.Random) -> None:
        self.folder = folder
        self.kubelet = kubelet
        self.rng = rng
        self.agent: Process | None = None
        self.present = set(CARDS)
        self.well = set(CARDS)
        self.running: dict[str, frozenset[str]] = {}
        self.pods = 0
        self.told: list[str] = []

    async def start_agent(self) -> None:
        config = self.folder / "agent.yaml"
        config.write_text(json.dumps(CONFIGURATION))
        folders = ("--kubelet-dir", str(self.kubelet.kubelet_dir), "--runtime-dir", str(self.folder / "run"))
        with (self.folder / "agent.log").open("ab") as log:
            self.agent = await asyncio.create_subprocess_exec(PROGRAM, "serve", "-c", str(config), *folders, stdout=log, stderr=log)

    async def end_agent(self) -> None:
        if self.agent is not None and self.agent.returncode is None:
            kill(self.agent.pid)
            await self.agent.wait()

    async def command(self, name: str, card: str) -> None:
        async def is_done() -> bool:
            try:
                async with AgentClient(self.folder / "run") as agent:
                    await agent.command("fake", name, [card])
            except AgentUnreachable:  # the process is just starting
                return False
            return True

        await eventually(is_done, bool, within_s=20)

    def any_card(self, of: set[str]) -> str | None:
        return self.rng.choice(sorted(of)) if of else None

    # Events.

    async def restart_kubelet(self) -> None:
        await self.kubelet.restart(same_inode=self.rng.random() < 0.3)

    async def stop_kubelet_for_a_moment(self) -> None:
        await self.kubelet.stop()
        await self.fail_a_card()
        await self.kubelet.start()

    async def cut_streams(self) -> None:
        await self.kubelet.cut_streams()

    async def refuse_some_registrations(self) -> None:
        fault = self.rng.choice(
            [RegisterFault(refuse_with="try later"), RegisterFault(refuse_with="lost", after_acceptance=True), RegisterFault(delay_s=0.05)]
        )
        self.kubelet.faults.register.append(fault)
        await self.kubelet.cut_streams()

    async def remove_our_socket(self) -> None:
        for path in self.kubelet.plugin_dir.glob("npu-agent-*"):
            path.unlink(missing_ok=True)

    async def fail_a_card(self) -> None:
        if card := self.any_card(self.present & self.well):
            self.well.discard(card)
            await self.command(self.rng.choice(["fail", "hang"]), card)

    async def heal_a_card(self) -> None:
        if card := self.any_card(self.present - self.well):
            self.well.add(card)
            await self.command("heal", card)

    async def pull_a_card_out(self) -> None:
        if card := self.any_card(self.present):
            self.present.discard(card)
            await self.command("remove", card)

    async def put_a_card_back(self) -> None:
        if card := self.any_card(set(CARDS) - self.present):
            self.present.add(card)
            self.well.add(card)
            await self.command("add", card)

    async def run_a_pod(self) -> None:
        self.pods += 1
        name = f"pod-{self.pods}"
        try:
            await self.kubelet.run_pod(Pod(name, (Container("main", {NPU: self.rng.randint(1, 2)}),)))
        except PodRejected:
            self.kubelet.delete_pod(name)
            return
        held = self.kubelet.held(name)["main"][NPU]
        assert not any(held & other for other in self.running.values()), f"{name} was given a card that another pod holds"
        self.running[name] = held

    async def delete_a_pod(self) -> None:
        if self.running:
            name = self.rng.choice(sorted(self.running))
            del self.running[name]
            self.kubelet.delete_pod(name)

    async def kill_the_agent(self) -> None:
        await self.end_agent()
        # A new process has all cards, and all are well.
        self.present, self.well = set(CARDS), set(CARDS)
        await self.start_agent()
        await self.command("heal", CARDS[0])  # it answers: how long a process takes to start is measured elsewhere

    # What must be true.

    def truth(self) -> Quantity:
        held = set().union(*self.running.values())
        return Quantity(capacity=len(self.present | held), allocatable=len(self.present & self.well))

    async def settles(self) -> float:
        began = time.monotonic()
        truth = self.truth()
        try:
            with anyio.fail_after(SETTLED_WITHIN_S):
                await self.kubelet.until(lambda: self.kubelet.quantities().get(NPU) == truth)
        except TimeoutError:
            seen = self.kubelet.quantities().get(NPU)
            raise AssertionError(f"kubelet sees {seen}, and the host has {truth}\n" + "\n".join(self.told[-2 * AT_ONCE :])) from None
        return time.monotonic() - began


async def test_after_any_events_kubelet_sees_what_is_true(capsys: pytest.CaptureFixture[str]) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or random.randrange(2**32))
    rng = random.Random(seed)
    with capsys.disabled():
        print(f" (chaos seed {seed})", end="")  # noqa: T201 - to be able to run the same again
    with TemporaryDirectory(prefix="npu") as path:
        folder = Path(path)
        async with SimulatedKubelet(folder / "kubelet", seed=seed) as kubelet:
            node = Node(folder, kubelet, rng)
            events: dict[Callable[[], Awaitable[None]], int] = {
                node.restart_kubelet: 8,
                node.stop_kubelet_for_a_moment: 3,
                node.cut_streams: 8,
                node.refuse_some_registrations: 4,
                node.remove_our_socket: 6,
                node.fail_a_card: 12,
                node.heal_a_card: 12,
                node.pull_a_card_out: 6,
                node.put_a_card_back: 8,
                node.run_a_pod: 20,
                node.delete_a_pod: 14,
                node.kill_the_agent: 1,
            }
            await kubelet.start()
            await node.start_agent()
            try:
                await node.command("heal", CARDS[0])
                await node.settles()  # before a first registration kubelet starts pods without their devices
                for count in range(1, EVENTS + 1):
                    event = rng.choices(list(events), list(events.values()))[0]
                    node.told.append(event.__name__)
                    await event()
                    if count % AT_ONCE == 0:
                        await node.settles()
                await node.settles()
            except BaseException as error:
                error.add_note(f"chaos seed {seed}\n" + (folder / "agent.log").read_text()[-6000:])
                raise
            finally:
                await node.end_agent()

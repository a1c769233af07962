"""What is true of a node in the soak: its cards, its pods, and what can happen to them, to the agent and to kubelet."""

import asyncio
import os
import random
import shutil
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from npu_agent.control.client import AgentClient
from npu_agent.control.errors import AgentUnreachable
from tests.kubelets.node import KubeletNode
from tests.program import agent_pid
from tests.scenarios.agent import START_S, Agent
from tests.scenarios.eventually import eventually
from tests.scenarios.node import PodRejected, pod
from tests.scenarios.seen import NPU, held
from tests.simulator.plugin import Plugin, unknown


@dataclass(frozen=True, slots=True)
class Uses:
    """What a process has at one moment."""

    memory_kib: int
    files: int


class Host:
    """A node with an agent on `cards` fake cards. What is done to it is drawn from `rng` and kept in `done`."""

    def __init__(self, node: KubeletNode, agent: Agent, rng: random.Random, cards: int) -> None:
        self.node = node
        self.agent = agent
        self.rng = rng
        self.all_cards = [f"fake-{number}" for number in range(cards)]
        self.present = set(self.all_cards)
        self.well = set(self.all_cards)
        self.pods: dict[str, frozenset[str]] = {}
        self.pods_run = 0
        self.done: list[str] = []

    async def settle(self, *, within_s: float) -> float:
        """Return when kubelet has the truth, with the seconds since its last start or cut."""
        # A card that is gone is listed for as long as a pod holds it.
        listed = self.present.union(*self.pods.values())
        return await self.node.has(NPU, len(listed), self.present & self.well, within_s=within_s)

    async def check_pods(self) -> None:
        """Fail unless each pod holds what it was given, which is nobody else's."""
        cards = [card for pod_name in self.pods for card in await held(self.node, pod_name)]
        given = [card for cards in self.pods.values() for card in cards]
        assert sorted(cards) == sorted(given), f"pods hold {sorted(cards)}, and were given {sorted(given)}"
        assert len(set(given)) == len(given), f"given twice: {sorted(given)}"

    async def come_and_go(self) -> None:
        """Run a pod or delete one, or neither. The truth of kubelet must have been seen before."""
        if self.pods and self.rng.random() < 0.3:
            await self.delete_a_pod()
        if self.rng.random() < 0.3:
            await self.run_a_pod()

    async def run_a_pod(self) -> None:
        await self.settle(within_s=2)
        free = (self.present & self.well) - {card for cards in self.pods.values() for card in cards}
        count = self.rng.randint(1, 3)
        self.pods_run += 1
        name = f"pod-{self.pods_run}"
        self.done.append(f"run {name} with {count} of {len(free)}")
        if count > len(free):
            with pytest.raises(PodRejected):
                await self.node.run_pod(pod(name, npu=count))
            return
        await self.node.run_pod(pod(name, npu=count))
        self.pods[name] = await held(self.node, name)
        assert self.pods[name] <= free, f"{name} was given {sorted(self.pods[name])}, free are {sorted(free)}"

    async def delete_a_pod(self) -> None:
        name = self.rng.choice(sorted(self.pods))
        self.done.append(f"delete {name}")
        del self.pods[name]
        await self.node.delete_pod(name)

    async def end_kubelet(self) -> None:
        end = self.rng.choice([self.node.stop_kubelet, self.node.kill_kubelet])
        self.done.append(end.__name__)
        await end()

    async def start_kubelet(self) -> None:
        self.done.append("start_kubelet")
        await self.node.start_kubelet()

    async def cut(self) -> None:
        self.done.append("cut")
        await self.node.cut_streams()

    async def something(self) -> None:
        """Have one fault happen."""
        often: list[Callable[[], Awaitable[None]]] = [
            self.fail_or_hang,
            self.heal,
            self.pull_out,
            self.put_back,
            self.cut,
            self.restart_kubelet,
            self.restart_kubelet_while_things_happen,
            self.remove_the_folder,
            self.remove_our_socket,
            self.stranger,
        ]
        # A process takes long to start; that is measured elsewhere.
        seldom = [self.kill_the_agent, self.stop_the_agent, self.upgrade_the_agent]
        await self.rng.choice(seldom if self.rng.random() < 0.04 else often)()

    async def fail_or_hang(self) -> None:
        if card := self._any(self.present & self.well):
            self.well.discard(card)
            await self._command(self.rng.choice(["fail", "hang"]), card)

    async def heal(self) -> None:
        if card := self._any(self.present - self.well):
            self.well.add(card)
            await self._command("heal", card)

    async def pull_out(self) -> None:
        if card := self._any(self.present):
            self.present.discard(card)
            await self._command("remove", card)

    async def put_back(self) -> None:
        if card := self._any(set(self.all_cards) - self.present):
            self.present.add(card)
            self.well.add(card)
            await self._command("add", card)

    async def restart_kubelet(self) -> None:
        await self.end_kubelet()
        await asyncio.sleep(self.rng.uniform(0, 0.02))
        await self.start_kubelet()

    async def restart_kubelet_while_things_happen(self) -> None:
        await self.end_kubelet()
        if self.pods:
            await self.delete_a_pod()
        await self.fail_or_hang()
        await self.heal()
        await self.start_kubelet()

    async def remove_the_folder(self) -> None:
        await self.end_kubelet()
        self.done.append("remove the folder")
        checkpoint = (self.node.plugin_dir / "kubelet_internal_checkpoint").read_bytes()
        shutil.rmtree(self.node.plugin_dir)
        self.node.plugin_dir.mkdir()
        # Without its checkpoint kubelet would give the cards of running pods away.
        (self.node.plugin_dir / "kubelet_internal_checkpoint").write_bytes(checkpoint)
        await self.start_kubelet()

    async def remove_our_socket(self) -> None:
        self.done.append("remove our socket")
        for socket in self.agent.sockets():
            socket.unlink(missing_ok=True)

    async def stranger(self) -> None:
        """Somebody's registration for our resource fails, and kubelet forgets ours."""
        self.done.append("stranger")
        async with Plugin(self.node.plugin_dir, f"stranger-{self.rng.randrange(1 << 30)}.sock", resource=NPU) as stranger:
            stranger.options_error = unknown("not me")
            assert await stranger.register() is not None

    async def kill_the_agent(self) -> None:
        self.done.append("kill the agent")
        await self.agent.kill()
        await self._start_the_agent()

    async def stop_the_agent(self) -> None:
        self.done.append("stop the agent")
        await self.agent.stop()
        await self._start_the_agent()

    async def upgrade_the_agent(self) -> None:
        self.done.append("upgrade the agent")
        await self.agent.upgrade()
        await self._agent_is_registered()

    async def _start_the_agent(self) -> None:
        await self.agent.start()
        await self._agent_is_registered()

    async def _agent_is_registered(self) -> None:
        """Return when it is; a new process has all cards, and all are well."""
        self.present, self.well = set(self.all_cards), set(self.all_cards)

        async def is_registered() -> bool:
            with suppress(AgentUnreachable):
                async with AgentClient(self.agent.runtime_dir) as agent:
                    registrations = [resource.registration for resource in (await agent.status()).resources]
                return all(registration and registration.state == "registered" for registration in registrations)
            return False

        # A kubelet that forgot the last agent, because a stranger's registration failed, shows its devices as if it were there.
        await eventually(is_registered, bool, within_s=START_S)
        await self.settle(within_s=START_S)

    async def _command(self, name: str, card: str) -> None:
        self.done.append(f"{name} {card}")
        async with AgentClient(self.agent.runtime_dir) as agent:
            await agent.command("fake", name, [card])

    def _any(self, cards: set[str]) -> str | None:
        return self.rng.choice(sorted(cards)) if cards else None

    def agent_uses(self) -> Uses:
        """Return what the agent's process has now."""
        process = self.agent._process
        assert process is not None
        folder = Path(f"/proc/{agent_pid(process.pid)}")
        memory = next(line for line in (folder / "status").read_text().splitlines() if line.startswith("VmRSS:"))
        return Uses(int(memory.split()[1]), len(os.listdir(folder / "fd")))

    async def agent_at_rest(self, before: Uses) -> Uses:
        """Return what it has when it has closed what it opened, or after a while in any case."""

        async def uses() -> Uses:
            return self.agent_uses()

        with suppress(AssertionError):
            return await eventually(uses, lambda now: now.files <= before.files, within_s=2)
        return self.agent_uses()

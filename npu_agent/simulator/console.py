"""The simulated kubelet at a prompt: lines of text in, lines of text out."""

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass

from npu_agent.simulator.errors import KubeletNotRunning, PodRejected
from npu_agent.simulator.kubelet import PodState, SimulatedKubelet
from npu_agent.simulator.pods import Container, Pod


class CommandError(Exception):
    """A line is no command, or cannot be carried out now; the text says what to write instead."""


class Quit(Exception):
    """The line asks to end."""


class Console:
    """Carries out the lines that a developer writes to play kubelet. What kubelet logs of it is not said again."""

    def __init__(self, kubelet: SimulatedKubelet) -> None:
        self._kubelet = kubelet

    async def carry_out(self, line: str) -> str:
        """Carry out one line and return what there is to say. Raises CommandError and Quit."""
        if not line.split():
            return ""
        name, *arguments = line.split()
        if name not in COMMANDS:
            raise CommandError(f"there is no command {name!r}; write help for those that there are")
        command = COMMANDS[name]
        if not command.least <= len(arguments) <= command.most:
            raise CommandError(f"expected {name} {command.arguments}".rstrip() + f", got {line.strip()}")
        try:
            told = command.carry_out(self, *arguments)
            return str(await told if inspect.isawaitable(told) else told)
        except KubeletNotRunning:
            raise CommandError("kubelet is stopped; write start") from None

    async def pod(self, name: str, *requests: str) -> str:
        """Run a pod of one container that asks for devices."""
        devices: dict[str, int] = {}
        for request in requests:
            resource, _, count = request.partition("=")
            if not resource or not count.isdecimal():
                raise CommandError(f"expected RESOURCE=COUNT, such as furiosa.ai/npu=1, got {request}")
            devices[resource] = int(count)
        try:
            await self._kubelet.run_pod(Pod(name, (Container(devices=devices),)))
        except PodRejected as rejection:
            return f"pod {name} failed: {rejection}"
        except ValueError as error:
            raise CommandError(f"{error}; delete it first or choose another name") from None
        return self._described(self._kubelet.pod(name))

    def delete(self, name: str) -> str:
        """Remove a pod."""
        try:
            self._kubelet.delete_pod(name)
        except KeyError:
            raise CommandError(f"there is no pod {name}; write pods for those that there are") from None
        return f"pod {name} is gone"

    def pods(self) -> str:
        """Show the pods and what they hold."""
        return "\n".join(self._described(state) for state in self._kubelet.pods()) or "there are no pods"

    def capacity(self) -> str:
        """Show what the node has of each resource."""
        if not self._kubelet.is_running:
            raise KubeletNotRunning
        quantities = self._kubelet.quantities().items()
        lines = [f"{resource}: capacity {quantity.capacity}, allocatable {quantity.allocatable}" for resource, quantity in quantities]
        return "\n".join(lines) or "no plugin has registered yet"

    async def restart(self) -> str:
        """Stop kubelet and start it again at once."""
        await self._kubelet.restart()
        return ""

    async def stop(self) -> str:
        """Stop kubelet; its socket stays and refuses."""
        await self._kubelet.stop()
        return ""

    async def start(self) -> str:
        """Start kubelet after stop."""
        if self._kubelet.is_running:
            raise CommandError("kubelet runs already; write stop or restart")
        await self._kubelet.start()
        return ""

    async def cut(self) -> str:
        """Lose all connections to plugins while the sockets stay."""
        await self._kubelet.cut_streams()
        return "all connections to plugins are cut"

    def help(self) -> str:
        """Show the commands."""
        usages = {name: f"{name} {command.arguments}".rstrip() for name, command in COMMANDS.items()}
        width = max(map(len, usages.values()))
        return "\n".join(f"{usage:<{width}}  {COMMANDS[name].told}" for name, usage in usages.items())

    def quit(self) -> str:
        """End."""
        raise Quit

    def _described(self, state: PodState) -> str:
        if state.failed:
            return f"pod {state.pod.name} failed: {state.failed}"
        held = self._kubelet.held(state.pod.name)
        rows = [f"{resource} {', '.join(sorted(ids))}" for resources in held.values() for resource, ids in sorted(resources.items()) if ids]
        nodes = [f"{node.host_path} as {node.container_path}" for given in state.given.values() for node in given.devices]
        return f"pod {state.pod.name} runs with {'; '.join(rows) or 'no device'}" + (f" ({', '.join(nodes)})" if nodes else "")


@dataclass(frozen=True, slots=True)
class Command:
    """A command: what carries it out, how its arguments are written, what it does, and how few and how many there may be."""

    carry_out: Callable[..., object]
    arguments: str
    told: str
    least: int
    most: float


COMMANDS = {
    "pod": Command(Console.pod, "NAME RESOURCE=COUNT…", "run a pod of one container that asks for devices", 1, math.inf),
    "delete": Command(Console.delete, "NAME", "remove a pod", 1, 1),
    "pods": Command(Console.pods, "", "show the pods and what they hold", 0, 0),
    "capacity": Command(Console.capacity, "", "show what the node has of each resource", 0, 0),
    "restart": Command(Console.restart, "", "stop kubelet and start it again at once", 0, 0),
    "stop": Command(Console.stop, "", "stop kubelet; its socket stays and refuses", 0, 0),
    "start": Command(Console.start, "", "start kubelet after stop", 0, 0),
    "cut": Command(Console.cut, "", "lose all connections to plugins while the sockets stay", 0, 0),
    "help": Command(Console.help, "", "show the commands", 0, 0),
    "quit": Command(Console.quit, "", "end", 0, 0),
}

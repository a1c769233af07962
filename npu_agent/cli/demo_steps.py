"""What `npu-agent demo` does and tells, step by step."""

import asyncio
import shlex
import shutil
import signal
import sys
import time
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, BinaryIO

import anyio
import typer

from npu_agent.cli import exits
from npu_agent.cli.streams import has_colours
from npu_agent.core.text import printable
from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.errors import PodRejected
from npu_agent.simulator.kubelet import SimulatedKubelet
from npu_agent.simulator.pods import Container, Pod

RESOURCE = "furiosa.ai/npu"
CARDS = 4
STEP_S = 10.0
"""Seconds that a step may take, on a machine that is busy with other things."""

CONFIGURATION = """\
backends:
  fake:
    accelerators:
      - {id: rngd-0, family: rngd, location: numa0/switch0, numa_node: 0, firmware: 2.1.0}
      - {id: rngd-1, family: rngd, location: numa0/switch0, numa_node: 0, firmware: 2.1.0}
      - {id: rngd-2, family: rngd, location: numa1/switch1, numa_node: 1, firmware: 2.1.0}
      - {id: rngd-3, family: rngd, location: numa1/switch1, numa_node: 1, firmware: 2.1.0}
probe_interval_s: 0.2
"""


class StepFailed(Exception):
    """A step did not come out as it should; the text says what was expected and what was seen."""


class Demo:
    """The steps, each told when it is done. Everything happens below `folder`, and nothing is left running."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._runtime_dir = folder / "run"
        self._log = folder / "agent.log"
        self._kubelet = SimulatedKubelet(folder)
        self._serve: Process | None = None
        self._began = time.monotonic()

    async def run(self) -> None:
        """Go through all steps. Raises StepFailed at the first that fails, OSError, and CancelledError on SIGTERM."""
        task = asyncio.current_task()
        assert task is not None
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        async with self._kubelet:
            await self._kubelet.start()
            self._tell("kubelet", "A simulated kubelet starts. It knows of no accelerator.")
            async with self._agent():
                await self._first_sight()
                await self._a_pod_gets_a_card()
                await self._a_card_fails_and_heals()
                await self._kubelet_restarts()
                await self._the_agent_ends()
        self._tell("done", f"All of it again: {_as_typed()} demo. To play yourself: {_as_typed()} simulate-kubelet --help")

    async def _first_sight(self) -> None:
        await self._shows(CARDS, CARDS)
        self._tell("agent", f"npu-agent serve found {CARDS} fake cards and registered {RESOURCE} with kubelet.")
        await self._list()

    async def _a_pod_gets_a_card(self) -> None:
        pair = await self._run_pod("pair", 2)
        self._tell("pod", f"Pod pair asks for two and gets {' and '.join(sorted(pair))}, which sit on one switch.")
        single = await self._run_pod("single", 1)
        self._tell("pod", f"Pod single asks for one and gets {', '.join(single)}.")
        refusal = await self._refusal("greedy", 2)
        self._tell("pod", f"Pod greedy asks for two more and stays away. kubelet says: {refusal}.")

    async def _a_card_fails_and_heals(self) -> None:
        card = min(self._held("single"))
        await self._npu_agent("fake", "fail", card, "too hot")
        await self._shows(CARDS, CARDS - 1)
        health = self._kubelet.device_health("single")[card]
        self._tell("card", f"{card} fails. The node offers {CARDS - 1} of {CARDS}; the status of pod single says {card} is {health}.")
        await self._list()
        await self._npu_agent("fake", "heal", card)
        await self._shows(CARDS, CARDS)
        self._tell("card", f"{card} heals. After three good readings in a row the node offers {CARDS} of {CARDS}.")

    async def _kubelet_restarts(self) -> None:
        before = self._held("pair")
        await self._kubelet.restart()
        back = time.monotonic()
        await self._shows(CARDS, CARDS)
        if self._held("pair") != before:
            raise StepFailed(f"pod pair held {sorted(before)} before the restart of kubelet and {sorted(self._held('pair'))} after it")
        took_ms = (time.monotonic() - back) * 1000
        self._tell("kubelet", f"kubelet restarts and forgets the agent, which is back after {took_ms:.0f} ms. Pod pair keeps its cards.")

    async def _the_agent_ends(self) -> None:
        agent, self._serve = self._serve, None
        assert agent is not None
        agent.terminate()
        try:
            with anyio.fail_after(STEP_S):
                status = await agent.wait()
        except TimeoutError:
            raise StepFailed(f"npu-agent serve did not end within {STEP_S:g} s of SIGTERM") from None
        if status:
            raise StepFailed(f"npu-agent serve ended with status {status}\n{self._last_of_log()}")
        await self._shows(CARDS, 0)
        self._tell("agent", "npu-agent ends in order, so kubelet offers nothing at once. Pods run on.")

    async def _list(self) -> None:
        """Show what `npu-agent list` says."""
        for line in (await self._npu_agent("list")).splitlines():
            exits.drawn(_styled(f"         {printable(line, 1000)}", dim=True))

    async def _run_pod(self, name: str, count: int) -> frozenset[str]:
        try:
            with anyio.fail_after(STEP_S):
                await self._kubelet.run_pod(_pod(name, count))
        except PodRejected as rejection:
            raise StepFailed(f"pod {name} was not admitted: {rejection.message}\n{self._last_of_log()}") from None
        except TimeoutError:
            raise StepFailed(f"pod {name} did not start within {STEP_S:g} s\n{self._last_of_log()}") from None
        held = self._held(name)
        if len(held) != count:
            raise StepFailed(f"pod {name} asked for {count} and holds {sorted(held)}")
        return held

    async def _refusal(self, name: str, count: int) -> str:
        try:
            await self._kubelet.run_pod(_pod(name, count))
        except PodRejected as rejection:
            return rejection.message
        raise StepFailed(f"pod {name} asked for {count}, which is more than there is, and was admitted")

    def _held(self, name: str) -> frozenset[str]:
        return self._kubelet.held(name)["main"].get(RESOURCE, frozenset())

    async def _shows(self, capacity: int, allocatable: int) -> None:
        wanted = Quantity(capacity, allocatable)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._end_with_agent, tasks.cancel_scope)
            with anyio.move_on_after(STEP_S):
                await self._kubelet.until(lambda: self._kubelet.quantities().get(RESOURCE) == wanted)
            tasks.cancel_scope.cancel()
        seen = self._kubelet.quantities().get(RESOURCE) or "nothing"
        if seen == wanted:
            return
        if self._serve is not None and self._serve.returncode is not None:
            raise StepFailed(f"npu-agent serve ended with status {self._serve.returncode}\n{self._last_of_log()}")
        raise StepFailed(f"after {STEP_S:g} s kubelet shows {seen} of {RESOURCE}, not {wanted}\n{self._last_of_log()}")

    async def _end_with_agent(self, scope: anyio.CancelScope) -> None:
        if self._serve is not None:
            await self._serve.wait()
            scope.cancel()

    @asynccontextmanager
    async def _agent(self) -> AsyncIterator[None]:
        """Run `npu-agent serve`."""
        configuration = self._folder / "config.yaml"
        configuration.write_text(CONFIGURATION)
        options = ("--config", str(configuration), "--kubelet-dir", str(self._folder), "--runtime-dir", str(self._runtime_dir))
        with self._log.open("wb") as log:
            async with _running("serve", *options, output=log) as self._serve:
                yield

    async def _npu_agent(self, *argv: str) -> str:
        """Run a command of npu-agent beside the agent and return what it printed."""
        async with _running(*argv, "--runtime-dir", str(self._runtime_dir), output=PIPE) as process:
            try:
                with anyio.fail_after(STEP_S):
                    output, _ = await process.communicate()
            except TimeoutError:
                raise StepFailed(f"npu-agent {' '.join(argv)} did not end within {STEP_S:g} s") from None
        if process.returncode:
            raise StepFailed(f"npu-agent {' '.join(argv)} ended with status {process.returncode}: {output.decode().strip()}")
        return output.decode()

    def _last_of_log(self) -> str:
        lines = self._log.read_text().splitlines()[-20:] if self._log.exists() else []
        return "\n".join(["The last lines of the agent's log:", *lines])

    def _tell(self, who: str, text: str) -> None:
        color = {"kubelet": "blue", "agent": "green", "pod": "magenta", "card": "yellow"}.get(who)
        exits.drawn(f"{time.monotonic() - self._began:5.2f} s  " + _styled(f"{who:<8}", fg=color, bold=True) + printable(text, 1000))


def _styled(text: str, **style: Any) -> str:
    return typer.style(text, **style) if has_colours() else text


def _pod(name: str, count: int) -> Pod:
    return Pod(name, (Container(devices={RESOURCE: count}),))


@asynccontextmanager
async def _running(*argv: str, output: int | BinaryIO) -> AsyncIterator[Process]:
    """Run npu-agent with these arguments; it has ended when this does, however that is."""
    # In the single binary the interpreter is the program itself, and takes its arguments.
    program = (sys.executable,) if _is_binary() else (sys.executable, "-c", "from npu_agent.cli import main; main()")
    process = await asyncio.create_subprocess_exec(*program, *argv, stdin=DEVNULL, stdout=output, stderr=STDOUT)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def _as_typed() -> str:
    """Return what starts this npu-agent in a shell of the folder in which the demo was started."""
    typed = Path(sys.argv[0])
    if typed.name != "npu-agent" and not _is_binary():
        return f"{shlex.quote(sys.executable)} -m npu_agent"
    found = shutil.which("npu-agent")
    return "npu-agent" if found is not None and Path(found).samefile(typed) else shlex.quote(sys.argv[0])


def _is_binary() -> bool:
    """Return whether this is a program made by PyInstaller, which sets this."""
    return getattr(sys, "frozen", False)

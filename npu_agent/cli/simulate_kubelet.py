"""`npu-agent simulate-kubelet`: play kubelet at a prompt, without root and without Kubernetes."""

from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from npu_agent.cli import exits

if TYPE_CHECKING:
    from npu_agent.simulator.kubelet import SimulatedKubelet


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(simulate_kubelet)


def simulate_kubelet(
    kubelet_dir: Annotated[
        Path,
        typer.Option(envvar="NPU_AGENT_KUBELET_DIR", help="The folder to use as kubelet's; it is made if need be.", show_default=False),
    ],
    version: Annotated[str, typer.Option(help="The version of kubelet to imitate, from 1.26 on.")] = "1.36.3",
) -> None:
    """Play kubelet: take registrations and give devices to pods that you make up. Write help for the commands."""
    import asyncio

    from npu_agent.simulator.kubelet import SimulatedKubelet

    try:
        kubelet = SimulatedKubelet(kubelet_dir, version=version)
    except ValueError as error:
        exits.usage(f"--version: {error}")
    if _is_answered(kubelet.plugin_dir / "kubelet.sock"):
        exits.failure(f"a kubelet answers in {kubelet.plugin_dir} already; choose another folder with --kubelet-dir")
    _log_to_output()
    try:
        asyncio.run(_play(kubelet))
    except OSError as error:
        exits.failure(f"cannot be kubelet in {kubelet_dir}: {error.strerror or error}; choose another folder with --kubelet-dir")


async def _play(kubelet: "SimulatedKubelet") -> None:
    from npu_agent.simulator.console import CommandError, Console, Quit

    async with kubelet:
        await kubelet.start()
        exits.output(f"kubelet {kubelet.behaviour.version} answers in {kubelet.plugin_dir}; write help for the commands. Try:")
        exits.output(f"  npu-agent serve --backend fake --kubelet-dir {kubelet.kubelet_dir} --runtime-dir {kubelet.kubelet_dir}/run")
        console = Console(kubelet)
        async for line in _lines_of_input():
            try:
                told = await console.carry_out(line)
            except CommandError as error:
                told = str(error)
            except Quit:
                return
            if told:
                exits.output(told)


async def _lines_of_input() -> AsyncIterator[str]:
    """Yield lines as they are written. The end of a terminal's input ends them; that of a pipe or of no input is waited out for ever."""
    import os
    import sys

    import anyio

    descriptor = sys.stdin.fileno()
    rest = b""
    while True:
        # Refused for a plain file and for /dev/null, which can always be read.
        with suppress(PermissionError):
            await anyio.wait_readable(descriptor)
        if not (read := os.read(descriptor, 4096)):
            break
        *lines, rest = (rest + read).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")
    if not os.isatty(descriptor):
        await anyio.sleep_forever()


def _log_to_output() -> None:
    """Print what the simulated kubelet logs, with the time of day."""
    import logging

    from npu_agent.cli.streams import OutputUnwritable

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            with suppress(OutputUnwritable, BrokenPipeError):
                exits.output(self.format(record))

    handler = Handler()
    handler.setFormatter(logging.Formatter("%(asctime)s.%(msecs)03d %(message)s", datefmt="%H:%M:%S"))
    log = logging.getLogger("npu_agent.simulator")
    log.addHandler(handler)
    log.setLevel(logging.INFO)


def _is_answered(path: Path) -> bool:
    import socket

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True

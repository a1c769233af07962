"""`npu-agent fake`: what happens to the cards of the fake backend of a running agent."""

from pathlib import Path
from typing import Annotated

import typer

from npu_agent.cli import exits, paths


def _ids(context: typer.Context, incomplete: str) -> list[str]:
    """Return the cards that a shell may complete `incomplete` to: those of the running agent, if one answers."""
    import asyncio

    from npu_agent.control.client import AgentClient
    from npu_agent.control.errors import AgentRefused, AgentUnreachable

    given = context.params.get("runtime_dir")

    async def ask() -> list[str]:
        async with AgentClient(paths.runtime_dir(Path(given) if given else None)) as client:
            return [accelerator.id for accelerator in (await client.status()).accelerators if accelerator.backend == "fake"]

    try:
        return [id for id in asyncio.run(ask()) if id.startswith(incomplete)]
    except (AgentUnreachable, AgentRefused):
        return []


Id = Annotated[str, typer.Argument(metavar="CARD", help="Its id or its name, as npu-agent list shows them.", autocompletion=_ids)]
Reason = Annotated[list[str] | None, typer.Argument(metavar="[REASON]", help="What is said to be the cause.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the group of commands to `app`."""
    from npu_agent.cli import new_app

    group = new_app(name="fake", help="Have something happen to a fake card of the running agent.")
    for command in (fail, heal, remove, add, hang, slow, unusable):
        group.command()(command)
    app.add_typer(group)


def fail(card: Id, reason: Reason = None, runtime_dir: paths.RuntimeDir = None) -> None:
    """A card reads as unhealthy from the next probe on."""
    _command(runtime_dir, "fail", card, *(reason or []))


def heal(card: Id, runtime_dir: paths.RuntimeDir = None) -> None:
    """End what fail, hang, slow and unusable did to a card."""
    _command(runtime_dir, "heal", card)


def remove(card: Id, runtime_dir: paths.RuntimeDir = None) -> None:
    """Pull a card out: it is found no more, and its device nodes go."""
    _command(runtime_dir, "remove", card)


def add(
    card: Annotated[
        str, typer.Argument(metavar="[ID]", help="The card, a removed one or a new one.", show_default="a new one with the next free id")
    ] = "",
    runtime_dir: paths.RuntimeDir = None,
) -> None:
    """Put a removed card back, without its faults, or plug a new one in."""
    _command(runtime_dir, "add", *([card] if card else []))


def hang(
    card: Id,
    seconds: Annotated[
        float | None, typer.Argument(metavar="[SECONDS]", min=0, help="For how long.", show_default="until it is healed")
    ] = None,
    runtime_dir: paths.RuntimeDir = None,
) -> None:
    """Reads of a card do not come back for a while."""
    _command(runtime_dir, "hang", card, *([] if seconds is None else [str(seconds)]))


def slow(
    card: Id,
    seconds: Annotated[float, typer.Argument(metavar="SECONDS", min=0, help="How long each read takes.")],
    runtime_dir: paths.RuntimeDir = None,
) -> None:
    """Each read of a card takes a while."""
    _command(runtime_dir, "slow", card, str(seconds))


def unusable(card: Id, reason: Reason = None, runtime_dir: paths.RuntimeDir = None) -> None:
    """A card is seen, but containers cannot be given it (a card without a driver, say)."""
    _command(runtime_dir, "unusable", card, *(reason or []))


def _command(runtime_dir: Path | None, name: str, *arguments: str) -> None:
    import asyncio

    from npu_agent.control.client import AgentClient
    from npu_agent.control.errors import AgentRefused, AgentUnreachable

    async def send() -> str:
        async with AgentClient(paths.runtime_dir(runtime_dir)) as client:
            # What is no text, as an argument can be on Linux, cannot be sent.
            return await client.command("fake", name, [argument.encode(errors="backslashreplace").decode() for argument in arguments])

    try:
        exits.output(asyncio.run(send()))
    except AgentUnreachable as error:
        exits.failure(f"{error}; start one with npu-agent serve --backend fake, or name its folder by --runtime-dir")
    except AgentRefused as error:
        exits.failure(str(error))

from dataclasses import replace

from npu_agent.backends.base import Backend
from npu_agent.core.accelerator import Accelerator, ContainerEdits


async def only(backend: Backend) -> Accelerator:
    """Return the one accelerator that there is."""
    (accelerator,) = await backend.scan()
    return accelerator


def edits(accelerator: Accelerator, part: str = "") -> ContainerEdits:
    """Return what containers get with the named part of a card, the whole if it is empty; nothing of a card that has no parts."""
    found = [one.edits for one in accelerator.parts if one.name == part]
    return found[0] if found or accelerator.parts else ContainerEdits()


def without_parts(accelerator: Accelerator) -> Accelerator:
    """Return what a card is, without what containers get of it."""
    return replace(accelerator, parts=())


def part_names(accelerator: Accelerator, kind: str) -> list[str]:
    """Return the names of the parts of a kind."""
    return [part.name for part in accelerator.parts if part.kind == kind]

"""What docs/troubleshooting.md quotes of the agent, said by the agent: each part's situation is made, and its grey blocks are looked for.

The agent's folders lie below a root of their own, whose name is taken out of what it says.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from tests.troubleshooting import situations as made
from tests.troubleshooting.machine import Machine

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()


def parts() -> Mapping[str, list[str]]:
    """Return the lines of the grey blocks of each part that has any, by its heading."""
    found = {}
    for part in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        if lines := [line for block in re.findall(r"```text\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]:
            found[heading] = lines
    return found


Situation = Callable[[Machine], Awaitable[None]]

SITUATIONS: Mapping[Situation, tuple[str, ...]] = {
    made.nothing_on_the_host: ("A node has 0 of furiosa.ai/npu, and the agent found no accelerator",),
    made.cards_of_a_host: ('A card is there and is "unusable": no driver', "Reading a card hangs"),
    made.a_selector_that_matches_nothing: ('A card is there and is "unselected" or "excluded"',),
    made.plain_files: ("A pod is refused because a device node is not there",),
    made.kubelet_comes_and_goes: (
        "The agent waits for kubelet, which runs",
        "kubelet refuses the registration",
        "A second agent, or another device plugin, serves the node",
        "The pod is restarted by its liveness probe, or never gets ready",
        "Allocatable falls to 0 while the agent runs",
        "A card is unhealthy",
        "A card has vanished",
        "Which pod has which card, and a question mark in its place",
        "No agent answers `npu-agent list`",
    ),
    made.a_folder_of_somebody_else_s: ("The agent may not use kubelet's folder",),
    made.an_api_server_that_refuses: ("The node has no labels of ours, or no taint",),
    made.limits: ("All cards stay as they were, and the agent has a problem of its own",),
    made.what_cannot_start: (
        "The agent ends at once, again and again",
        'A pod is Pending with "Insufficient furiosa.ai/npu" and no node has it',
    ),
}
"""The parts of the page whose situation each makes."""


def alike(text: str) -> str:
    """Return `text` with what differs from run to run as a sign for its kind: numbers, names of sockets of ours, of processes."""
    text = re.sub(r"npu-agent-npu-[0-9a-f]+-\d+\.sock", "SOCKET", text)
    text = re.sub(r"\(process \d+\)", "(process N)", text)
    text = re.sub(r"of process \d+ \([^)]*\)", "of process N (NAME)", text)
    return re.sub(r"127\.0\.0\.1:\d+ is in use", "127.0.0.1:N is in use", text)


def missing(lines: list[str], said: str) -> list[str]:
    return [line for line in lines if alike(line) not in alike(said)]


@pytest.fixture
def machine(short_dir: Path) -> Machine:
    (short_dir / "run").mkdir()
    return Machine(short_dir)


@pytest.mark.parametrize("situation", SITUATIONS, ids=lambda situation: situation.__name__)
async def test_what_the_page_quotes_is_said(machine: Machine, situation: Situation) -> None:
    await situation(machine)
    said = machine.said()
    for heading in SITUATIONS[situation]:
        assert missing(parts()[heading], said) == [], f"{heading}\n{said}"


def test_each_part_that_quotes_the_agent_has_its_situation() -> None:
    assert sorted(parts()) == sorted(heading for headings in SITUATIONS.values() for heading in headings)


def test_each_part_says_what_cures_it() -> None:
    for part in re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]:
        heading, _, text = part.partition("\n")
        assert "* **Cure.**" in text, heading
        assert "* **Cause" in text or "* **Look** " in text, heading

"""Accelerators in a machine of the tests: files in its /sys and nodes in its /dev as drivers would put them there."""

import os
import sys
from dataclasses import dataclass

from tests.cluster import lay_over_sys
from tests.e2e.device_nodes import harmless_devices, make_node
from tests.e2e.namespaces import Namespaces
from tests.host_tree import Card, HostTree


@dataclass(frozen=True, slots=True)
class Cards:
    """The accelerators of a machine, by what it calls them. Changes of `tree` are seen inside at once, those below /dev aside."""

    tree: HostTree
    cards: dict[str, Card]


async def insert_cards(machine: Namespaces, family: str, count: int) -> Cards:
    """Put `count` cards of a family ("warboy", "rngd") into a machine, with all their nodes, which can be opened and do nothing.

    No two cards have nodes of one number, as long as the kernel has as many devices that nobody minds being opened.
    """
    tree = HostTree(machine.run / "host")
    numbers = harmless_devices()
    cards = {}
    for index in range(count):
        card: Card = getattr(tree, family)(index)
        device = numbers[index % len(numbers)]
        for path in card.nodes:
            make_node(tree.root / path.lstrip("/"), device)
        tree.set(card, "dev", f"{os.major(device)}:{os.minor(device)}\n")
        cards[card.uuid] = card
    await machine.must("cp", "-a", f"{tree.root}/dev/.", "/dev")
    await machine.mount(sys.executable, "-I", lay_over_sys.__file__, str(tree.root / "sys"))
    return Cards(tree, cards)

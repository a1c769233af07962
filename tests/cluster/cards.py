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
    """The accelerators of a machine, by uuid. Changes of `tree` are seen inside at once, those below its /dev not at all."""

    tree: HostTree
    family: str
    cards: dict[str, Card]
    numbers: dict[str, int]
    """The number of the device nodes of each."""

    def take_out(self, uuid: str) -> None:
        """Take a card out of the machine. Its nodes in /dev stay."""
        self.tree.remove(self.cards[uuid])

    def put_in(self, uuid: str) -> None:
        """Put that card back into its place."""
        card: Card = getattr(self.tree, self.family)(self.cards[uuid].index, uuid=uuid)
        self.tree.set(card, "dev", _dev(self.numbers[uuid]))


async def insert_cards(machine: Namespaces, family: str, count: int) -> Cards:
    """Put `count` cards of a family ("warboy", "rngd") into a machine, with all their nodes, which can be opened and do nothing.

    No two cards have nodes of one number, as long as the kernel has as many devices that nobody minds being opened.
    """
    tree = HostTree(machine.run / "host")
    numbers = harmless_devices()
    cards = Cards(tree, family, {}, {})
    for index in range(count):
        card: Card = getattr(tree, family)(index)
        device = numbers[index % len(numbers)]
        for path in card.nodes:
            make_node(tree.root / path.lstrip("/"), device)
        tree.set(card, "dev", _dev(device))
        cards.cards[card.uuid], cards.numbers[card.uuid] = card, device
    await machine.must("cp", "-a", f"{tree.root}/dev/.", "/dev")
    await machine.mount(sys.executable, "-I", lay_over_sys.__file__, str(tree.root / "sys"))
    return cards


def _dev(device: int) -> str:
    """Return what a driver says of its node with that number."""
    return f"{os.major(device)}:{os.minor(device)}\n"

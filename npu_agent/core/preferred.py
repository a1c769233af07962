"""Preferred allocation: which free devices go together best, exactly, by dynamic programming over the machine's tree.

The cards of a pool are the leaves of a tree that their locations span, and the devices of a card (itself, its partitions, its
replicas) are leaves below it. A card's path is its location, with the card's id added where two cards share a location; the height of
the pool is the length of its longest path. The distance of two devices is

* of different cards: the height of the pool less the number of steps that their paths have in common. That is the height of their
  lowest common ancestor above the deepest card, so paths of uneven length meet at the same height as even ones.
* of the same card: 0 where the policy is "packed", the height of the pool and one more where it is "spread". Where it is "apart",
  a card gives one device at the most, its first one that is free, and counts as a device.

The cost of a set of devices is the sum of the distances of its pairs. Of the cheapest sets, the one is taken that breaks the fewest
intact groups, the largest size first: a group is a place of the tree, and it is intact while all devices of the pool below it are
free. Of those, the one whose sorted ids come first.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

from npu_agent.core.pool import Device, Pool

WORK_LIMIT = 400_000
"""How much the exact search may do, in additions of small numbers: about 0.1 s, for kubelet admits no other pod meanwhile."""


def prefer(pool: Pool, available: Sequence[str], must_include: Sequence[str], size: int) -> list[str]:
    """Return the `size` device ids that go together best, sorted: all of `must_include`, the others of `available`.

    The order of the input and ids that come twice change nothing. Ids of `must_include` count as chosen whatever else is known of
    them, since kubelet has given them already; if there are more than `size`, the first of them by id are the answer. Ids that the
    pool does not know are taken last. If fewer than `size` are there, or on cards of their own where the policy is "apart", all of
    them are the answer.

    The answer is exact up to `WORK_LIMIT`, which 64 of 1024 whole cards do not reach. Beyond, the tree is filled greedily: into the
    smallest place that has room for the rest, else the largest place whole. With "spread", no card gives more than the least that
    suffices.
    """
    if pool.policy == "apart":
        pool, available = _one_of_each_card(pool, available, must_include)
    must = sorted(set(must_include))
    if size <= len(must):
        return must[: max(size, 0)]
    wanted = size - len(must)
    others = sorted(set(available).difference(must))
    known = {device.id for device in pool.devices}
    free = [id for id in others if id in known]
    if len(free) <= wanted:
        strangers = [id for id in others if id not in known]
        return sorted(must + free + strangers[: wanted - len(free)])
    tree = _tree(pool, free, must)
    chosen = _cheapest(tree, wanted) if _work(tree, wanted) <= WORK_LIMIT else _filled(tree, wanted, spread=pool.policy == "spread")
    return sorted(must + [free[rank] for rank in chosen])


def _one_of_each_card(pool: Pool, available: Sequence[str], must_include: Sequence[str]) -> tuple[Pool, Sequence[str]]:
    """Return the pool as if each card had one device, and of `available` those that may be chosen with "apart".

    A card that has one of `must_include` keeps it and gives no other; a card with no free device keeps its first.
    """
    must, offered = set(must_include), set(available)
    cards: dict[str, list[Device]] = {}
    for device in sorted(pool.devices, key=lambda device: device.id):
        cards.setdefault(device.accelerator_id, []).append(device)
    kept: list[Device] = []
    for devices in cards.values():
        held = [device for device in devices if device.id in must]
        kept += held or [next((device for device in devices if device.id in offered), devices[0])]
    left_out = {device.id for device in pool.devices}.difference(device.id for device in kept)
    return replace(pool, devices=tuple(kept)), [id for id in available if id not in left_out]


class _Place(NamedTuple):
    """A card, or a place of the tree where the paths of cards part; places with one way down are left out.

    `height` is the distance of two devices that meet here. `devices`, `free` and `must` count those below: of the pool, free to
    choose, and chosen already. `first` is the lowest rank of a free one. `ranks` are those of a card's free devices, ascending; a
    rank is a place in the list of all free ids.
    """

    height: int
    children: tuple["_Place", ...]
    devices: int
    free: int
    must: int
    first: int
    ranks: tuple[int, ...] = ()

    @property
    def is_intact(self) -> bool:
        """Whether to choose a device here breaks a group. Groups of one are left out: every choice breaks as many."""
        return self.devices == self.free > 1

    @property
    def gives_one(self) -> bool:
        """Whether this is a card that can give one device and no more, so that no pair is made on it and no group broken."""
        return not self.children and self.free == 1 and not self.must


def _tree(pool: Pool, free: Sequence[str], must: Sequence[str]) -> list[_Place]:
    """Return the places of the pool's tree, children before parents, so that the root is the last."""
    cards: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for device in pool.devices:
        cards.setdefault((device.location, device.accelerator_id), []).append(device.id)
    ordered = sorted(cards)
    shared = [_steps_in_common(one, other) for (one, _), (other, _) in pairwise(ordered)]
    height = max([len(location) for location, _ in ordered] + [1 + steps for steps in shared])
    card_height = height + 1 if pool.policy == "spread" else 0
    rank_of = {id: rank for rank, id in enumerate(free)}
    chosen = set(must)

    places: list[_Place] = []
    open_places: list[tuple[int, list[_Place]]] = []

    def close() -> None:
        steps, children = open_places.pop()
        children.append(places[-1])
        places.append(_joined(height - steps, children))

    for card, steps in zip(ordered, [*shared, -1], strict=True):
        ids = cards[card]
        ranks = tuple(sorted([rank_of[id] for id in ids if id in rank_of]))
        first = ranks[0] if ranks else len(free)
        places.append(_Place(card_height, (), len(ids), len(ranks), len(chosen.intersection(ids)), first, ranks))
        while open_places and open_places[-1][0] > steps:
            close()
        if steps < 0:
            break
        if open_places and open_places[-1][0] == steps:
            open_places[-1][1].append(places[-1])
        else:
            open_places.append((steps, [places[-1]]))
    return places


def _joined(height: int, children: Sequence[_Place]) -> _Place:
    return _Place(
        height,
        tuple(children),
        sum(child.devices for child in children),
        sum(child.free for child in children),
        sum(child.must for child in children),
        min(child.first for child in children),
    )


def _steps_in_common(one: Sequence[str], other: Sequence[str]) -> int:
    steps = 0
    for step, step_of_other in zip(one, other, strict=False):
        if step != step_of_other:
            break
        steps += 1
    return steps


def _pairs(count: int) -> int:
    return count * (count - 1) // 2


def _group_units(tree: Sequence[_Place]) -> tuple[dict[int, int], int]:
    """Return what breaking an intact group of each size weighs, and a weight that is more than that of breaking all of them.

    A group weighs more than all smaller ones together.
    """
    sizes = [place.devices for place in tree if place.is_intact]
    base = len(sizes) + 1
    units = {size: base**index for index, size in enumerate(sorted(set(sizes)))}
    return units, base ** len(units)


def _work(tree: Sequence[_Place], wanted: int) -> int:
    """Return what `_cheapest` would do, in additions of small numbers; those of numbers of 1,000 bits count twice."""
    additions = 0
    for place in tree:
        rows = 1
        for child in place.children:
            columns = min(child.free, wanted) + 1
            additions += rows * columns
            rows = min(rows + columns - 1, wanted + 1)
    bits = tree[-1].free + len({place.devices for place in tree if place.is_intact}) * len(tree).bit_length()
    return additions * (1000 + bits) // 1000


def _cheapest(tree: Sequence[_Place], wanted: int) -> Iterator[int]:
    """Yield the ranks of the best `wanted` free devices.

    Each place has a table: for each number of free devices chosen below it, the weight of the best choice. Weights add up over the
    tree, and all three aims are digits of one number, so that the smaller one is the better one: the cost, then the groups broken,
    then the ranks as a bit set, subtracted and lowest rank highest. So the number also says which devices were chosen.

    The pairs that meet at a place cost its height each. They are counted as all pairs below it less those below each child, so that
    each table needs only the number of devices that each child gives.
    """
    bits = tree[-1].free
    units, all_groups = _group_units(tree)
    one_step = all_groups << bits
    tables: list[list[int]] = []
    for place in tree:
        if place.gives_one:
            tables.append([])  # its parent takes all of these together
            continue
        if place.children:
            first = len(tables) - len(place.children)
            table = _of_alike(sorted(child.first for child in place.children if child.gives_one)[:wanted], bits)
            for child, below in zip(place.children, tables[first:], strict=True):
                if not child.gives_one and (child.free or child.must):
                    table = _merged(table, _with_pairs(below, child.must, -place.height * one_step), wanted)
            del tables[first:]
        else:
            table = _of_alike(place.ranks[:wanted], bits)
        table = _with_pairs(table, place.must, place.height * one_step)
        if place.is_intact:
            broken = units[place.devices] << bits
            table = [table[0], *(weight + broken for weight in table[1:])]
        tables.append(table)
    chosen = -tables[0][wanted] & ((1 << bits) - 1)
    return (rank for rank in range(bits) if chosen >> (bits - 1 - rank) & 1)


def _of_alike(ranks: Iterable[int], bits: int) -> list[int]:
    """Return the table of devices that differ in nothing but their ids, given their ranks in order: the first ones are taken first."""
    table = [0]
    for rank in ranks:
        table.append(table[-1] - (1 << (bits - 1 - rank)))
    return table


def _with_pairs(table: list[int], must: int, weight: int) -> list[int]:
    """Return the table with `weight` added for each pair of devices, those that must be included among them."""
    if must + len(table) <= 2 or weight == 0:
        return table
    return [known + _pairs(must + count) * weight for count, known in enumerate(table)]


def _merged(one: list[int], other: list[int], wanted: int) -> list[int]:
    """Return for each number up to `wanted` the least weight of two that make it together, one from each table."""
    short, long = sorted((one, other), key=len)
    merged = [weight + short[0] for weight in long]
    for count, extra in enumerate(short[1 : wanted + 1], 1):
        shifted = [weight + extra for weight in long[: wanted + 1 - count]]
        merged[count:] = [*map(min, merged[count:], shifted), *shifted[len(merged) - count :]]
    return merged


def _filled(tree: Sequence[_Place], wanted: int, *, spread: bool) -> Iterator[int]:
    """Yield the ranks of `wanted` free devices, chosen from the top of the tree down without a search."""
    limit = _least_for_each_card(tree, wanted) if spread else wanted
    room: list[int] = []
    below: list[list[int]] = []
    roots: list[int] = []
    for index, place in enumerate(tree):
        first = len(roots) - len(place.children)
        below.append(roots[first:])
        room.append(sum(room[child] for child in below[index]) if place.children else min(place.free, limit))
        roots[first:] = [index]

    def order(child: int, room_first: int) -> tuple[bool, int, bool, int]:
        return tree[child].must == 0, room_first, tree[child].is_intact, tree[child].first

    takes = [0] * len(tree)
    takes[-1] = wanted
    for index in reversed(range(len(tree))):
        rest = takes[index]
        yield from tree[index].ranks[:rest]
        for child in sorted(below[index], key=lambda child: order(child, -room[child])):
            if room[child] >= rest:
                child = min((other for other in below[index] if takes[other] == 0 and room[other] >= rest), key=lambda c: order(c, room[c]))
                takes[child] = rest
                break
            takes[child] = room[child]
            rest -= room[child]


def _least_for_each_card(tree: Sequence[_Place], wanted: int) -> int:
    """Return the smallest number of devices that each card may give so that all cards together give `wanted`."""
    limit = 0
    while sum(min(place.free, limit) for place in tree if not place.children) < wanted:
        limit += 1
    return limit

"""What speaks against offering a device: what a pod may still hold."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from npu_agent.core.accelerator import Accelerator, ContainerEdits, DeviceNode, Part
from npu_agent.core.allocations import Allocation, Conflicts, allocation_of, with_texts
from npu_agent.core.health import Health
from npu_agent.core.inventory import Tracked
from npu_agent.core.planning import Wanted, plan
from npu_agent.core.pool import Device
from npu_agent.core.selection import ResourceSpec

NPU = "furiosa.ai/npu"
WELL = Health(True, "", 0.0)


def edits(*paths: str, shared: bool = False) -> ContainerEdits:
    return ContainerEdits(tuple(DeviceNode(path, path, shared=shared) for path in paths))


def card(id: str, index: int = 0) -> Accelerator:
    """A card of two halves, with a node that both have."""
    mgmt, left, right = (f"/dev/npu{index}{end}" for end in ("mgmt", "pe0", "pe1"))
    parts = (
        Part("", "", edits(mgmt, left, right)),
        Part("1core", "pe0", edits(mgmt, left)),
        Part("1core", "pe1", edits(mgmt, right)),
        Part("2core", "pe0-1", edits(mgmt, left, right)),
    )
    return Accelerator(id, "sysfs", "rngd", name=f"npu{index}", uuid=id, parts=parts)


def devices(accelerator: Accelerator, partition: str = "", replicas: int = 1) -> dict[str, Device]:
    spec = ResourceSpec(NPU, partition=partition, replicas=replicas)
    pool = plan({accelerator.id: Tracked(accelerator, WELL)}, Wanted([spec])).pools[NPU]
    return {device.id: device for device in pool.devices}


def held(accelerator: Accelerator, id: str, partition: str = "", replicas: int = 1) -> Allocation:
    return allocation_of(NPU, devices(accelerator, partition, replicas)[id], accelerator)


def withheld(accelerator: Accelerator, live: Iterable[Allocation], partition: str = "", replicas: int = 1, may_be: str = "") -> set[str]:
    conflicts = Conflicts(live)
    return {
        id
        for id, device in devices(accelerator, partition, replicas).items()
        if conflicts.of(NPU, device, accelerator, frozenset(filter(None, [may_be])), {accelerator.id})
    }


def test_a_device_that_is_held_is_not_withheld_from_whoever_holds_it() -> None:
    assert withheld(card("A"), [held(card("A"), "A")]) == set()


def test_a_card_that_got_the_device_nodes_of_a_held_one_is_withheld() -> None:
    assert withheld(card("B", 0), [held(card("A", 0), "A")]) == {"B"}
    assert withheld(card("B", 1), [held(card("A", 0), "A")]) == set()


def test_nodes_that_cards_share_by_design_withhold_nothing() -> None:
    one, other = (replace(card(id), parts=(Part("", "", edits("/dev/kfd", shared=True)),)) for id in "AB")
    assert withheld(other, [held(one, "A")]) == set()


def test_a_card_that_may_be_a_held_one_is_withheld() -> None:
    assert withheld(card("B", 1), [held(card("A", 0), "A")], may_be="A") == {"B"}
    assert withheld(card("B", 1), [], may_be="A") == set()


@pytest.mark.parametrize(
    ("held_id", "held_kind", "kind", "expected"),
    [
        ("A", "", "1core", {"A_pe0", "A_pe1"}),
        ("A_pe0", "1core", "", {"A"}),
        ("A_pe0", "1core", "1core", set()),
        ("A_pe0", "1core", "2core", {"A_pe0-1"}),
        ("A_pe0-1", "2core", "1core", {"A_pe0", "A_pe1"}),
    ],
)
def test_a_card_that_is_divided_otherwise_is_withheld_as_far_as_it_is_held(
    held_id: str, held_kind: str, kind: str, expected: set[str]
) -> None:
    assert withheld(card("A"), [held(card("A"), held_id, held_kind)], kind) == expected


def test_replicas_are_shared_and_what_was_held_alone_is_not() -> None:
    assert withheld(card("A"), [held(card("A"), "A_r0", replicas=2)], replicas=2) == set()
    assert withheld(card("A"), [held(card("A"), "A")], replicas=2) == {"A_r0", "A_r1"}
    assert withheld(card("A"), [held(card("A"), "A_r0", replicas=2)]) == {"A"}


def test_a_card_that_is_held_under_the_name_of_another_resource_is_withheld() -> None:
    assert withheld(card("A"), [replace(held(card("A"), "A"), resource="old/npu")]) == {"A"}


def test_a_card_that_kubelet_alone_says_may_be_held_is_withheld() -> None:
    assert withheld(replace(card("A_0000-27-00.0"), uuid="A"), [Allocation(NPU, "A")]) == {"A_0000-27-00.0"}
    assert withheld(card("A"), [Allocation(NPU, "B")]) == set()


def test_a_container_is_remembered_with_all_that_can_be_read_of_its_card() -> None:
    whole = Accelerator("A", "sysfs", "rngd", name="npu0", uuid="U", serial="S", pci_address="0000:27:00.0", parts=card("A").parts)
    assert held(whole, "A_pe0", "1core") == Allocation(
        resource=NPU,
        device_id="A_pe0",
        accelerator_id="A",
        kind="1core",
        part="pe0",
        is_replica=False,
        backend="sysfs",
        family="rngd",
        name="npu0",
        uuid="U",
        serial="S",
        pci_address="0000:27:00.0",
        nodes=frozenset({"/dev/npu0mgmt", "/dev/npu0pe0"}),
        own_nodes=frozenset({"/dev/npu0pe0"}),
    )


def test_texts_that_change_are_remembered_and_those_that_cannot_be_read_are_kept() -> None:
    known = Allocation(NPU, "A", "A", name="npu0", uuid="U", serial="S", pci_address="0000:27:00.0")
    blank = Accelerator("A", "sysfs", "rngd")
    assert with_texts(known, blank) is known
    assert with_texts(known, replace(blank, name="new")) == replace(known, name="new")
    assert with_texts(known, replace(blank, uuid="new")) == replace(known, uuid="new")
    assert with_texts(known, replace(blank, serial="new")) == replace(known, serial="new")
    assert with_texts(known, replace(blank, pci_address="new")) == replace(known, pci_address="new")


def test_parts_that_share_no_node_of_their_own_are_told_apart_and_a_part_without_nodes_is_not_trusted() -> None:
    lower = held(card("A"), "A_pe0", "1core")
    apart = replace(card("A"), parts=(Part("1core", "pe0", edits("/dev/a")), Part("half", "h1", edits("/dev/b"))))
    assert withheld(apart, [replace(lower, own_nodes=frozenset({"/dev/a"}))], "half") == set()
    assert withheld(apart, [replace(lower, own_nodes=frozenset())], "half") == {"A_h1"}
    assert withheld(card("A"), [replace(held(card("A"), "A_pe0-1", "2core"), own_nodes=frozenset({"/dev/npu0pe1"}))], "1core") == {"A_pe1"}


def test_a_part_that_kubelet_alone_says_may_be_held_withholds_its_card_and_no_other_that_is_there_under_its_name() -> None:
    renamed = replace(card("A_0000-27-00.0"), uuid="A")
    assert withheld(renamed, [Allocation(NPU, "A_pe0")]) == {"A_0000-27-00.0"}
    (device,) = devices(renamed).values()
    bare = Conflicts([Allocation(NPU, "A")])
    assert bare
    assert not Conflicts([])
    assert bare.of(NPU, device, renamed, frozenset(), {"A_0000-27-00.0", "A"}) == ""
    assert bare.of(NPU, device, renamed, frozenset(), {"A_0000-27-00.0"}) == f"it may be the card that is held as A of {NPU}"


def test_a_card_is_not_withheld_from_whoever_is_known_from_kubelet_alone_under_its_own_name() -> None:
    assert withheld(card("A"), [Allocation(NPU, "A_pe0")]) == {"A"}
    assert withheld(card("A"), [Allocation(NPU, "A")]) == set()


def test_an_id_with_the_mark_of_parts_in_it_is_understood_as_that_of_a_card_too() -> None:
    assert withheld(replace(card("V"), uuid="A_B"), [Allocation(NPU, "A_B_pe0")]) == {"V"}


def test_a_node_that_any_other_part_of_the_kind_has_is_no_part_s_own() -> None:
    parts = tuple(
        Part("1core", f"pe{index}", edits(*nodes)) for index, nodes in enumerate((("/dev/a", "/dev/b"), ("/dev/a",), ("/dev/c",)))
    )
    whole = replace(card("A"), parts=parts)
    assert held(whole, "A_pe0", "1core").own_nodes == {"/dev/b"}

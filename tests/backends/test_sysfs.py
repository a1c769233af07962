"""Cards that sysfs shows: what they are, where they sit, what they are called, and that they come and go."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest

from npu_agent.backends.sysfs.backend import SysfsBackend
from npu_agent.core.accelerator import Accelerator, Reading
from npu_agent.core.model_line import ModelLine
from npu_agent.families.reading import read_shipped
from tests.backends.only import edits, only, without_parts
from tests.host_tree import HostTree

WARBOY = read_shipped("warboy")


async def by_name(backend: SysfsBackend) -> dict[str, Accelerator]:
    return {f"{accelerator.family} {accelerator.name or accelerator.pci_address}": accelerator for accelerator in await backend.scan()}


async def test_a_host_without_sysfs_has_no_cards(tmp_path: Path) -> None:
    async with SysfsBackend({}, host_root=tmp_path / "nothing") as backend:
        assert await backend.scan() == []


async def test_other_functions_on_the_bus_are_no_cards(tree: HostTree, backend: SysfsBackend) -> None:
    tree.other_function("0000:01:00.0")
    tree.other_function("0000:02:00.0", vendor="0x1ed2", device="0xabcd")
    assert await backend.scan() == []


async def test_a_warboy_is_known_by_its_files(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.warboy(numa_node=1)
    assert without_parts(await only(backend)) == Accelerator(
        id=card.uuid,
        parts=(),
        backend="sysfs",
        family="warboy",
        name="npu0",
        location=("numa1", "pci0000:00", "0000:00:01.0", "0000:6d:00.0"),
        numa_node=1,
        pci_address="0000:6d:00.0",
        uuid=card.uuid,
        serial="WBYB0000000000000",
        firmware="1.6.0, c1bebfd",
        driver="1.0.0, 0000000",
        attributes=(("soc-revision", "B0"),),
        model_line=ModelLine(WARBOY.product, tuple(WARBOY.node_labels)),
    )


async def test_an_rngd_is_known_by_its_files(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.rngd(3)
    accelerator = await only(backend)
    assert (accelerator.id, accelerator.family, accelerator.name) == (card.uuid, "rngd", "npu3")
    assert accelerator.location == ("numa0", "pci0000:00", "0000:00:02.0", "0000:57:00.0")
    assert accelerator.attributes == (("board-revision", "BD_REV_INIT"),)


async def test_both_families_can_have_a_card_of_the_same_index(tree: HostTree, backend: SysfsBackend) -> None:
    tree.warboy(0)
    tree.rngd(0)
    assert sorted(await by_name(backend)) == ["rngd npu0", "warboy npu0"]


async def test_cards_below_one_switch_share_the_beginning_of_their_location(tree: HostTree, backend: SysfsBackend) -> None:
    for index in range(8):
        tree.rngd(index)
    places = [accelerator.location for accelerator in await backend.scan()]
    assert places[0][:3] == places[1][:3] != places[2][:3]
    assert places[0][:2] == places[2][:2]
    assert places[0][0] != places[4][0]


@pytest.mark.parametrize("content", ["-1\n", "", "none\n", "99999999999999999999\n", "1024\n", "²\n", None])
async def test_a_numa_node_that_the_host_does_not_know_is_none(tree: HostTree, backend: SysfsBackend, content: str | None) -> None:
    tree.set(tree.rngd(), "pci:numa_node", content)
    accelerator = await only(backend)
    assert accelerator.numa_node is None
    assert accelerator.location == ("pci0000:00", "0000:00:01.0", "0000:27:00.0")


@pytest.mark.parametrize(
    ("uuid", "serial", "id"),
    [("", "RNGD000143", "RNGD000143"), ("", "", "0000-27-00.0"), ("  ", "\n", "0000-27-00.0"), ("A-1 ", "", "A-1")],
)
async def test_a_card_without_a_uuid_goes_by_serial_or_address(
    tree: HostTree, backend: SysfsBackend, uuid: str, serial: str, id: str
) -> None:
    tree.rngd(uuid=uuid, serial=serial)
    assert (await only(backend)).id == id


async def test_cards_that_claim_one_uuid_get_ids_of_their_own(tree: HostTree, backend: SysfsBackend) -> None:
    first, second = tree.rngd(0, uuid="A"), tree.rngd(1, uuid="A")
    tree.warboy(uuid="B")
    found = await backend.scan()
    assert [accelerator.id for accelerator in found] == ["A_0000-27-00.0", "A_0000-2a-00.0", "B"]
    assert "several cards claim the id A, so this one is A_0000-27-00.0" in found[0].notices[0]
    tree.remove(second)
    # A pod may hold the one that is left, and kubelet must not take it for the one that went.
    assert (await by_name(backend))["rngd npu0"].id == "A_0000-27-00.0"
    assert first.bdf == "0000:27:00.0"


async def test_cards_that_claim_one_uuid_and_one_address_still_have_ids_of_their_own(tree: HostTree, backend: SysfsBackend) -> None:
    tree.rngd(0, uuid="A")
    tree.set(tree.rngd(1, uuid="A"), "busname", "0000:27:00.0")
    assert [accelerator.id for accelerator in await backend.scan() if not accelerator.unusable] == [
        "A_0000-27-00.0",
        "A_0000-27-00.0_rngd-npu1",
    ]


async def test_a_card_whose_uuid_is_what_another_was_renamed_to_still_has_an_id_of_its_own(tree: HostTree, backend: SysfsBackend) -> None:
    for index, uuid in enumerate(("A", "A", "A_0000-27-00.0", "A_0000-2a-00.0_rngd-npu1")):
        tree.rngd(index, uuid=uuid)
    ids = [accelerator.id for accelerator in await backend.scan()]
    assert ids[0] == "A_0000-27-00.0_rngd-npu0"
    assert ids[1:] == ["A_0000-2a-00.0", "A_0000-27-00.0", "A_0000-2a-00.0_rngd-npu1"]


async def test_a_card_without_a_readable_firmware_version_is_a_card(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.rngd()
    tree.set(card, "fw_version", None)
    tree.path(card, "fw_version").mkdir()
    accelerator = await only(backend)
    assert (accelerator.id, accelerator.firmware, accelerator.unusable) == (card.uuid, "", "")


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        ("", "no driver is bound to 0000:27:00.0; load furiosa_rngd"),
        ("vfio-pci", "0000:27:00.0 is bound to vfio-pci, so it is kept for virtual machines; bind it to furiosa_rngd"),
        ("pci-stub", "0000:27:00.0 is bound to pci-stub; bind it to furiosa_rngd"),
        ("furiosa_rngd", "0000:27:00.0 is bound to furiosa_rngd, but /sys/class/rngd_mgmt has no entry for it"),
    ],
)
async def test_a_card_without_its_driver_is_seen_and_cannot_be_used(tree: HostTree, backend: SysfsBackend, driver: str, said: str) -> None:
    tree.unbound("rngd", driver=driver)
    accelerator = await only(backend)
    assert accelerator.unusable.startswith(said)
    assert (accelerator.family, accelerator.id, accelerator.name) == ("rngd", "0000-27-00.0", "")
    assert accelerator.location == ("numa0", "pci0000:00", "0000:00:01.0", "0000:27:00.0")
    reading = await backend.probe(accelerator)
    assert (reading.healthy, reading.reason) == (False, accelerator.unusable)
    assert accelerator.parts == ()


async def test_a_card_that_gets_its_driver_is_found_by_the_next_scan(tree: HostTree, backend: SysfsBackend) -> None:
    tree.unbound("rngd")
    assert "no driver" in (await only(backend)).unusable
    card = tree.rngd(0)
    accelerator = await only(backend)
    assert (accelerator.id, accelerator.unusable) == (card.uuid, "")
    tree.unbind(card)
    assert "no driver" in (await only(backend)).unusable


async def test_a_card_that_moves_to_virtual_machines_says_so(tree: HostTree, backend: SysfsBackend) -> None:
    tree.unbind(tree.warboy())
    assert "no driver is bound to 0000:6d:00.0; load npu_pdma" in (await only(backend)).unusable
    tree.unbound("warboy", driver="vfio-pci")
    assert "is kept for virtual machines; bind it to npu_pdma" in (await only(backend)).unusable


async def test_cards_come_and_go(tree: HostTree, backend: SysfsBackend) -> None:
    cards = [tree.rngd(index) for index in range(3)]
    assert len(await backend.scan()) == 3
    tree.remove(cards[1])
    assert sorted(await by_name(backend)) == ["rngd npu0", "rngd npu2"]
    tree.rngd(1)
    tree.warboy()
    assert sorted(await by_name(backend)) == ["rngd npu0", "rngd npu1", "rngd npu2", "warboy npu0"]


async def test_another_card_in_the_place_of_one_is_another_card(tree: HostTree, backend: SysfsBackend) -> None:
    first = tree.rngd(0, uuid="A")
    assert (await only(backend)).id == "A"
    tree.remove(first)
    tree.rngd(0, uuid="B")
    assert (await only(backend)).id == "B"


async def test_what_identifies_a_card_is_not_read_again_once_two_scans_agree(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.rngd(0)
    await backend.scan()
    before = await only(backend)
    tree.set(card, "device_uuid", "somebody else\n")
    assert await only(backend) == before


async def test_a_card_that_is_seen_while_its_driver_makes_its_files_is_looked_at_again(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.rngd(0)
    for attribute in ("device_type", "device_uuid", "device_sn"):
        tree.set(card, attribute, None)
    assert "its device_type is missing and not 'RNGD'" in (await only(backend)).unusable
    tree.set(card, "device_type", "RNGD\n")
    assert ((await only(backend)).id, (await only(backend)).unusable) == ("0000-27-00.0", "")
    another = tree.rngd(1, uuid="")
    assert "RNGD000144" in {accelerator.id for accelerator in await backend.scan()}
    tree.set(another, "device_uuid", "B")
    assert {accelerator.id for accelerator in await backend.scan()} == {"0000-27-00.0", "B"}


async def test_an_entry_whose_pci_function_is_not_there_is_a_card(tree: HostTree, backend: SysfsBackend) -> None:
    tree.set(tree.rngd(0), "busname", "0000:03:00.0")
    (tree.root / "sys/bus/pci/devices/0000:27:00.0").unlink()
    accelerator = await only(backend)
    assert (accelerator.unusable, accelerator.pci_address, accelerator.location) == ("", "0000:03:00.0", ("0000:03:00.0",))
    assert accelerator.notices == ("its busname reads '0000:03:00.0', which is not on the PCI bus, so its place in the machine is unknown",)


@pytest.mark.parametrize("busname", ["", "\n", "npu0", "0000:27:00.0\n0000:28:00.0", "../../../etc", "x" * 5000])
async def test_an_address_that_is_none_is_not_believed(tree: HostTree, backend: SysfsBackend, busname: str) -> None:
    card = tree.rngd(0)
    tree.set(card, "busname", busname)
    (tree.root / "sys/bus/pci/devices" / card.bdf).unlink()
    accelerator = await only(backend)
    assert (accelerator.id, accelerator.pci_address, accelerator.location) == (card.uuid, "", ("rngd-npu0",))
    assert "which is no PCI address" in accelerator.notices[0]


async def test_an_entry_of_another_kind_is_not_taken(tree: HostTree, backend: SysfsBackend) -> None:
    tree.set(tree.rngd(0), "device_type", "RNGD-S\n")
    accelerator = await only(backend)
    assert accelerator.unusable == (
        "0000:27:00.0 is bound to furiosa_rngd, but its entry in /sys/class/rngd_mgmt is not taken:"
        " rngd!npu0mgmt: its device_type reads 'RNGD-S' and not 'RNGD'"
    )


async def test_a_scan_that_finds_nothing_new_says_nothing(tree: HostTree, backend: SysfsBackend, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "npu_agent")
    tree.rngd()
    first = await backend.scan()
    assert await backend.scan() == first
    assert not [record for record in caplog.records if record.name.startswith("npu_agent")]


@pytest.mark.parametrize("missing", [("device_uuid",), ("device_sn",), ("device_uuid", "device_sn")])
async def test_a_card_whose_name_is_missing_is_looked_at_twice_before_it_is_offered(
    tree: HostTree, backend: SysfsBackend, missing: Sequence[str]
) -> None:
    card = tree.rngd()
    for attribute in missing:
        tree.set(card, attribute, None)
    accelerator = await only(backend)
    assert accelerator.unusable == ""
    assert accelerator.id == ("0000-27-00.0" if len(missing) == 2 else "RNGD000143" if missing == ("device_uuid",) else card.uuid)


async def test_a_card_whose_name_comes_between_two_looks_is_never_offered_without_it(
    tree: HostTree, backend: SysfsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tree.rngd()
    tree.set(card, "device_uuid", None)
    tree.set(card, "device_sn", None)

    async def one_file_comes(_: float) -> None:
        tree.set(card, "device_sn", "S1")

    monkeypatch.setattr("npu_agent.backends.sysfs.backend.anyio.sleep", one_file_comes)
    half = await only(backend)
    assert half.unusable.startswith("/sys/class/rngd_mgmt/rngd!npu0mgmt has no device_uuid yet, by which the card is named")
    assert half.parts == ()
    tree.set(card, "device_uuid", "A")
    whole = await only(backend)
    assert (whole.id, whole.uuid, whole.serial, whole.unusable) == ("A", "A", "S1", "")


async def test_a_name_that_is_there_and_empty_is_settled_at_once(
    tree: HostTree, backend: SysfsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def waits(_: float) -> None:
        pytest.fail("it was looked at twice")

    monkeypatch.setattr("npu_agent.backends.sysfs.backend.anyio.sleep", waits)
    tree.rngd(uuid="", serial="")
    accelerator = await only(backend)
    assert (accelerator.id, accelerator.unusable) == ("0000-27-00.0", "")


async def test_what_firmware_fills_up_with_nuls_is_read_without_them(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.rngd()
    tree.set(card, "device_uuid", b"A-1\x00\x00\n")
    tree.set(card, "device_sn", b"S1 \x00")
    tree.set(card, "device_state", b"0\n\x00")
    accelerator = await only(backend)
    assert (accelerator.id, accelerator.serial) == ("A-1", "S1")
    assert await backend.probe(accelerator) == Reading(healthy=True)


@pytest.mark.parametrize(("dev", "major"), [("235:0\n", 235), ("235", 0), ("0:0", 0), ("-1:2", 0), ("", 0), (None, 0), ("x:y\n", 0)])
async def test_the_number_of_its_driver_is_known_of_the_node_that_is_the_entry_itself(
    tree: HostTree, backend: SysfsBackend, dev: str | None, major: int
) -> None:
    tree.set(tree.rngd(), "dev", dev)
    majors = {node.host_path: node.major for node in edits(await only(backend)).device_nodes}
    assert majors.pop("/dev/rngd/npu0mgmt") == major
    assert set(majors.values()) == {0}


async def test_a_card_that_its_driver_marks_late_is_found_however_often_it_was_looked_at(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.rngd()
    tree.set(card, "device_type", None)
    for _ in range(4):
        assert "its device_type is missing" in (await only(backend)).unusable
    tree.set(card, "device_type", "RNGD\n")
    accelerator = await only(backend)
    assert (accelerator.id, accelerator.unusable) == (card.uuid, "")

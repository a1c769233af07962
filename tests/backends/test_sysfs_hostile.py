"""sysfs as nobody expects it: whatever its files, links and names are, cards in order are found and nothing fails."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npu_agent.backends.sysfs.backend import SysfsBackend
from npu_agent.core.accelerator import Accelerator
from npu_agent.core.identity import MAX_DEVICE_ID
from tests.backends.only import edits
from tests.host_tree import Card, HostTree

CONTENTS = st.one_of(
    st.none(),
    st.binary(max_size=40),
    st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass")),
    st.sampled_from(
        [b"", b"\n", b"\x00" * 5000, b"A" * 70_000, b"\xff" * 300, b"a\nb\n", b"../../../etc/passwd", b"0000:27:00.0", b"0", b"-1"]
    ),
)
ATTRIBUTES = ("platform_type", "device_type", "busname", "device_uuid", "device_sn", "device_state", "fw_version", "version")
OF_FUNCTION = ("pci:vendor", "pci:device", "pci:numa_node")
LINKS = st.sampled_from(
    [
        ".",
        "..",
        "loop",
        "/",
        "/nowhere",
        "../../../../../../../../etc",
        "rngd!npu0mgmt",
        "/sys/class/rngd_mgmt",
        "a" * 200,
        os.fsdecode(b"\xff\xfe"),
    ]
)
ANY_NAMES = st.text(st.characters(exclude_characters="/\x00", exclude_categories=["Cs"]), min_size=1, max_size=20).filter(
    lambda name: name not in (".", "..")
)
LIKELY_NAMES = st.sampled_from(["rngd!npu3mgmt", "rngd!npu99999999mgmt", "rngd!npu٣mgmt", "npu1_mgmt", "0000:99:00.0", "npu1_mgmt\n"])


def check_rules(found: list[Accelerator], sound: Card) -> None:
    """What holds of every scan, and that the one card in order is not among those in trouble."""
    ids = [accelerator.id for accelerator in found]
    assert len(set(ids)) == len(ids)
    assert all(0 < len(id) <= MAX_DEVICE_ID and id.isprintable() for id in ids)
    for accelerator in found:
        texts = (
            accelerator.uuid,
            accelerator.serial,
            accelerator.firmware,
            accelerator.driver,
            accelerator.pci_address,
            *accelerator.location,
        )
        assert all(text.isprintable() and len(text) < 300 for text in texts)
        assert all(text.isprintable() and len(text) < 1000 for text in (accelerator.unusable, *accelerator.notices))
    assert any(accelerator.pci_address == sound.bdf and not accelerator.unusable for accelerator in found)


async def look(tree: HostTree, sound: Card) -> None:
    async with SysfsBackend({}, host_root=tree.root) as backend:
        found = list(await backend.scan())
        check_rules(found, sound)
        for accelerator in found:
            reading = await backend.probe(accelerator)
            assert reading.healthy == (not reading.reason)
            assert reading.reason.isprintable()
            assert len(reading.reason) < 2000
            assert reading.healthy or accelerator.id != sound.uuid
            nodes = edits(accelerator).device_nodes
            assert all(node.host_path.startswith("/dev/") and ".." not in node.host_path for node in nodes)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> HostTree:
    """One tree for all examples, since making it takes longer than looking at it."""
    return HostTree(tmp_path_factory.mktemp("host"))


@pytest.fixture(scope="module")
def cards(tree: HostTree) -> tuple[Card, Card]:
    return tree.rngd(0), tree.rngd(7)


@settings(deadline=None, max_examples=60)
@given(st.dictionaries(st.sampled_from(ATTRIBUTES + OF_FUNCTION), CONTENTS, max_size=6))
async def test_files_may_say_anything(tree: HostTree, cards: tuple[Card, Card], contents: dict[str, bytes | None]) -> None:
    card, sound = cards
    before = {attribute: tree.path(card, attribute).read_bytes() for attribute in contents}
    try:
        for attribute, content in contents.items():
            tree.set(card, attribute, content)
        await look(tree, sound)
    finally:
        for attribute, content in before.items():
            tree.set(card, attribute, content)


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["sys/class/rngd_mgmt", "sys/class/npu_mgmt", "sys/bus/pci/devices"]), st.one_of(ANY_NAMES, LIKELY_NAMES), LINKS
        ),
        max_size=5,
    )
)
async def test_folders_may_hold_anything(tree: HostTree, cards: tuple[Card, Card], planted: list[tuple[str, str, str]]) -> None:
    (tree.root / "sys/class/npu_mgmt").mkdir(exist_ok=True)
    made = {tree.root / where / name: target for where, name, target in planted if not os.path.lexists(tree.root / where / name)}
    try:
        for path, target in made.items():
            path.symlink_to(target)
        await look(tree, cards[1])
    finally:
        for path in made:
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("place", ["sys/class/rngd_mgmt/rngd!npu0mgmt", "sys/bus/pci/devices/0000:27:00.0"])
@pytest.mark.parametrize("target", ["rngd!npu0mgmt", "0000:27:00.0", "/sys/class/rngd_mgmt/rngd!npu0mgmt", "nowhere", "/"])
async def test_a_link_that_leads_nowhere_is_trouble_of_that_card_alone(tmp_path: Path, place: str, target: str) -> None:
    tree = HostTree(tmp_path)
    tree.rngd(0)
    sound = tree.rngd(7)
    (tree.root / place).unlink()
    (tree.root / place).symlink_to(target)
    await look(tree, sound)


@pytest.mark.parametrize("what", ["class folder", "attribute", "entry"])
async def test_files_and_folders_in_the_place_of_each_other_are_trouble_of_that_card_alone(tmp_path: Path, what: str) -> None:
    tree = HostTree(tmp_path)
    card, sound = tree.rngd(0), tree.rngd(7)
    if what == "class folder":
        (tree.root / "sys/class/npu_mgmt").write_text("a file")
    elif what == "attribute":
        tree.set(card, "device_uuid", None)
        tree.path(card, "device_uuid").mkdir()
    else:
        (tree.root / "sys/class/rngd_mgmt/rngd!npu1mgmt").write_text("a file")
    await look(tree, sound)


async def test_a_loop_is_named(tmp_path: Path) -> None:
    tree = HostTree(tmp_path)
    tree.rngd(0)
    entry = tree.root / "sys/class/rngd_mgmt/rngd!npu0mgmt"
    entry.unlink()
    entry.symlink_to("rngd!npu0mgmt")
    async with SysfsBackend({}, host_root=tree.root) as backend:
        found = {accelerator.id: accelerator.unusable for accelerator in await backend.scan()}
    assert found["rngd-npu0"].startswith("/sys/class/rngd_mgmt/rngd!npu0mgmt cannot be read: Too many levels of symbolic links")
    assert "has no entry for it" in found["0000-27-00.0"]


async def test_links_do_not_lead_out_of_the_host_root(tmp_path: Path) -> None:
    tree = HostTree(tmp_path / "host")
    outside = HostTree(tmp_path).rngd(0)
    assert outside.attributes is not None
    entry = tree.root / "sys/class/rngd_mgmt/rngd!npu0mgmt"
    entry.parent.mkdir()
    entry.symlink_to(outside.attributes)
    async with SysfsBackend({}, host_root=tree.root) as backend:
        (found,) = await backend.scan()
    assert found.uuid == ""
    assert "which is not there" in found.unusable


async def test_a_folder_with_very_many_entries_is_looked_at_in_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tree = HostTree(tmp_path)
    sound = tree.rngd(7)
    for index in range(3000):
        (tree.root / "sys/class/rngd_mgmt" / f"x{index}").touch()
        (tree.root / "sys/bus/pci/devices" / f"0001:{index // 8 % 256:02x}:{index // 2048:02x}.{index % 8}").symlink_to("nowhere")
    await look(tree, sound)
    monkeypatch.setattr("npu_agent.host.files.MAX_ENTRIES", 5)
    async with SysfsBackend({}, host_root=tree.root) as backend:
        assert len(await backend.scan()) <= 5


async def test_a_card_whose_serial_cannot_be_read_is_not_given_another_name(tmp_path: Path) -> None:
    tree = HostTree(tmp_path)
    card = tree.rngd(0)
    tree.set(card, "device_uuid", None)
    tree.path(card, "device_uuid").symlink_to("device_sn")
    async with SysfsBackend({}, host_root=tree.root) as backend:
        (found,) = await backend.scan()
        assert "device_uuid cannot be read: Too many levels of symbolic links; see the kernel's log" in found.unusable
        tree.set(card, "device_uuid", card.uuid)
        (found,) = await backend.scan()
        assert (found.id, found.unusable) == (card.uuid, "")


async def test_names_that_are_no_text_are_told_as_text(tmp_path: Path) -> None:
    tree = HostTree(tmp_path)
    odd = os.fsdecode(b"odd\xff\xfe")
    tree.unbound("rngd", driver=odd)
    bridge = tree.warboy(2).pci.parent
    bridge.rename(bridge.with_name(odd))
    function = tree.root / "sys/bus/pci/devices/0000:73:00.0"
    function.unlink()
    function.symlink_to(f"../../../devices/pci0000:00/{odd}/0000:73:00.0")
    entry = tree.root / "sys/class/rngd_mgmt/rngd!npu5mgmt"
    entry.parent.mkdir(exist_ok=True)
    entry.symlink_to(odd)
    async with SysfsBackend({}, host_root=tree.root) as backend:
        found = {accelerator.family + accelerator.name: accelerator for accelerator in await backend.scan()}
    assert found["rngd"].unusable.startswith("0000:27:00.0 is bound to odd��; bind it to furiosa_rngd")
    assert found["warboynpu2"].location[-2:] == ("odd��", "0000:73:00.0")
    assert "leads to /sys/class/rngd_mgmt/odd��, which is not there" in found["rngdnpu5"].unusable
    for accelerator in found.values():
        assert all(text.isprintable() for text in (accelerator.unusable, *accelerator.location, *accelerator.notices))

"""Cards that sysfs shows, in use: how they are, and what containers get of them."""

from collections.abc import Sequence

import pytest

from npu_agent.backends.sysfs.backend import SysfsBackend
from npu_agent.core.accelerator import Accelerator
from tests.backends.only import edits, only, part_names
from tests.host_tree import RNGD_PES, HostTree


@pytest.mark.parametrize(("content", "healthy"), [("0\n", True), ("0", True), ("1\n", False), ("2\n", False), ("", False), ("ok", False)])
async def test_only_a_device_state_of_0_is_healthy(tree: HostTree, backend: SysfsBackend, content: str, healthy: bool) -> None:
    card = tree.rngd()
    accelerator = await only(backend)
    tree.set(card, "device_state", content)
    reading = await backend.probe(accelerator)
    assert reading.healthy == healthy
    assert reading.reason == ("" if healthy else f"device_state reads {content.strip()!r}, and healthy is '0'")


async def test_health_that_cannot_be_read_is_bad_health(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.warboy()
    accelerator = await only(backend)
    assert (await backend.probe(accelerator)).healthy
    tree.set(card, "alive", None)
    assert (await backend.probe(accelerator)).reason == "alive is missing"
    tree.path(card, "alive").mkdir()
    assert (await backend.probe(accelerator)).reason == "alive cannot be read: Is a directory"


async def test_a_card_that_left_says_so_before_the_next_scan(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.warboy()
    accelerator = await only(backend)
    tree.remove(card)
    reading = await backend.probe(accelerator)
    assert reading.reason == ("/sys/class/npu_mgmt/npu0_mgmt is not there any more: the card has left the bus or its driver was removed")
    assert await backend.scan() == []
    assert (await backend.probe(accelerator)).reason == "npu0 is not there any more"


async def test_a_card_that_fell_off_the_bus_is_unhealthy_though_its_entry_stays(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.rngd()
    accelerator = await only(backend)
    kept = card.pci.rename(card.pci.with_name("away"))
    assert (await backend.probe(accelerator)).reason.startswith("0000:27:00.0 is not on the PCI bus any more")
    kept.rename(card.pci)
    assert (await backend.probe(accelerator)).healthy


def paths(accelerator: Accelerator, partition: str = "", *, required: bool | None = None) -> Sequence[str]:
    nodes = edits(accelerator, partition).device_nodes
    assert all(node.host_path == node.container_path and node.permissions == "rw" for node in nodes)
    return [node.host_path for node in nodes if required is None or node.required == required]


async def test_a_whole_rngd_has_the_nodes_that_the_vendor_hands_out(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.rngd(2, remote_dma=True)
    accelerator = await only(backend)
    assert sorted(paths(accelerator)) == sorted(card.nodes)
    assert len(card.nodes) == 35
    without = tree.rngd(2)
    assert set(paths(accelerator, required=True)) <= set(without.nodes)


async def test_a_part_of_an_rngd_has_its_own_processing_elements_only(tree: HostTree, backend: SysfsBackend) -> None:
    tree.rngd()
    accelerator = await only(backend)
    assert backend.partitions["rngd"] == ("1core", "2core", "4core")
    assert part_names(accelerator, "4core") == ["pe0-3", "pe4-7"]
    assert part_names(accelerator, "3core") == []
    shared = {path for path in paths(accelerator) if not path.removeprefix("/dev/rngd/npu0").startswith("pe")}
    own = {f"/dev/rngd/npu0pe{pe}" for pe in ("4", "5", "6", "7", "4-5", "6-7", "4-7")}
    assert set(paths(accelerator, "pe4-7")) == shared | own
    assert set(paths(accelerator, "pe3")) == shared | {"/dev/rngd/npu0pe3"}


@pytest.mark.parametrize("kind", ["1core", "2core", "4core"])
async def test_the_parts_of_an_rngd_are_disjoint_and_make_the_whole(tree: HostTree, backend: SysfsBackend, kind: str) -> None:
    tree.rngd()
    accelerator = await only(backend)
    single = {f"/dev/rngd/npu0pe{pe}" for pe in RNGD_PES if "-" not in pe}
    parts = [single & set(paths(accelerator, part)) for part in part_names(accelerator, kind)]
    assert set().union(*parts) == single
    assert sum(map(len, parts)) == len(single)


async def test_a_warboy_has_its_nodes_and_its_parts(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.warboy(1)
    accelerator = await only(backend)
    assert set(card.nodes) <= set(paths(accelerator))
    assert paths(accelerator, required=True) == ["/dev/npu1_mgmt", "/dev/npu1pe0", "/dev/npu1pe1"]
    assert paths(accelerator, "pe1", required=True) == ["/dev/npu1_mgmt", "/dev/npu1pe1"]
    assert not {"/dev/npu1", "/dev/npu1pe0", "/dev/npu1pe0-1"} & set(paths(accelerator, "pe1"))


async def test_what_containers_get_of_a_card_that_left_is_known_still(tree: HostTree, backend: SysfsBackend) -> None:
    card = tree.warboy()
    accelerator = await only(backend)
    tree.remove(card)
    assert set(card.nodes) <= set(paths(accelerator))


async def test_a_host_that_did_not_change_is_told_in_the_same_objects(tree: HostTree, backend: SysfsBackend) -> None:
    tree.rngd()
    first, second = await only(backend), await only(backend)
    assert await only(backend) is await only(backend)
    assert first.parts is second.parts

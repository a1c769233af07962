from pathlib import Path

import pytest

from npu_agent.core.accelerator import DeviceNode
from npu_agent.core.health import Health
from npu_agent.core.inventory import Inventory, Tracked
from npu_agent.core.pool import Device
from npu_agent.deviceplugin.errors import AllocationError
from npu_agent.flow.current import Current
from npu_agent.node.allocation import HostDevices
from tests.shelf import Shelf

WELL = Health(True, "", 0.0)


def host_of(root: Path, *shelves: Shelf) -> HostDevices:
    inventory: Inventory = {card.id: Tracked(card, WELL) for shelf in shelves for card in shelf.cards.values()}
    return HostDevices({shelf.name: shelf for shelf in shelves}, Current(inventory), root)


def device(id: str) -> Device:
    return Device(id, id, WELL)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "dev/npu").mkdir(parents=True)
    (tmp_path / "dev/npu/a").touch()
    shelf = Shelf("a", "b", host_root=tmp_path)
    shelf.nodes = {
        id: (DeviceNode(f"/dev/npu/{id}", f"/dev/npu/{id}"), DeviceNode(f"/dev/npu/{id}r", f"/dev/npu/{id}r", required=False))
        for id in "ab"
    }
    return shelf


async def test_optional_nodes_are_given_only_where_the_host_has_them(tmp_path: Path, shelf: Shelf) -> None:
    edits = await host_of(tmp_path, shelf).container_edits([device("a")])
    assert [node.host_path for node in edits.device_nodes] == ["/dev/npu/a"]
    (tmp_path / "dev/npu/ar").touch()
    edits = await host_of(tmp_path, shelf).container_edits([device("a")])
    assert [node.host_path for node in edits.device_nodes] == ["/dev/npu/a", "/dev/npu/ar"]


async def test_a_required_node_that_is_missing_is_named(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(AllocationError, match=r"b cannot be used: /dev/npu/b is not on the host; load the driver"):
        await host_of(tmp_path, shelf).container_edits([device("a"), device("b")])


async def test_a_folder_in_the_place_of_a_node_is_no_node(tmp_path: Path, shelf: Shelf) -> None:
    (tmp_path / "dev/npu/b").mkdir()
    with pytest.raises(AllocationError, match="/dev/npu/b is not on the host"):
        await host_of(tmp_path, shelf).container_edits([device("b")])


async def test_a_device_that_is_gone_from_the_host_is_named(tmp_path: Path, shelf: Shelf) -> None:
    with pytest.raises(AllocationError, match="c is not on this host any more"):
        await host_of(tmp_path, shelf).container_edits([device("c")])


async def test_devices_that_want_different_nodes_at_one_place_are_refused(tmp_path: Path, shelf: Shelf) -> None:
    shelf.nodes = {id: (DeviceNode(f"/dev/npu/{id}", "/dev/npu"),) for id in "ab"}
    with pytest.raises(AllocationError, match="both /dev/npu/a and /dev/npu/b would be /dev/npu"):
        await host_of(tmp_path, shelf).container_edits([device("a"), device("b")])


async def test_only_backends_that_want_it_prepare_their_own_cards(tmp_path: Path) -> None:
    plain, keen = Shelf("a", name="plain"), Shelf("b", "stubborn", name="keen")
    assert not host_of(tmp_path, plain).wants_pre_start
    keen.wants_pre_start = True
    host = host_of(tmp_path, plain, keen)
    assert host.wants_pre_start
    await host.pre_start([device("a"), device("b")])
    assert (plain.prepared, keen.prepared) == ([], ["b"])
    with pytest.raises(AllocationError, match="stubborn cannot be reset"):
        await host.pre_start([device("stubborn")])

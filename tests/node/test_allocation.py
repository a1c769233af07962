"""What a container is given: out of the node state, seen to exist, and remembered."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest

from npu_agent.core.accelerator import DeviceNode, Reading
from npu_agent.core.errors import AllocationError
from npu_agent.core.pool import Device
from npu_agent.node import holding
from npu_agent.node.node import Node
from tests.node.watched import NPU, Folder, Kubelet, configured, devices, healthy, ids, until, watching
from tests.shelf import Preparing, Shelf


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A host with the nodes of the card "a"."""
    (tmp_path / "dev/npu").mkdir(parents=True)
    make(tmp_path, "a")
    return tmp_path


def make(root: Path, name: str) -> None:
    os.mknod(root / f"dev/npu/{name}", 0o666 | stat.S_IFCHR, os.makedev(1, 3))


def nodes(id: str) -> Sequence[DeviceNode]:
    return DeviceNode(f"/dev/npu/{id}", f"/dev/npu/{id}"), DeviceNode(f"/dev/npu/{id}r", f"/dev/npu/{id}r", required=False)


def shelf(*names: str) -> Shelf:
    made = Shelf()
    for id in names:
        made.put(id, *nodes(id))
    return made


def device(node: Node, id: str) -> Device:
    (found,) = [device for device in devices(node.state.value) if device.id == id]
    return found


async def given(node: Node, *names: str) -> list[str]:
    edits = await node.allocator.allocate(NPU, [device(node, id) for id in names])
    return [one.host_path for one in edits.device_nodes]


async def test_optional_nodes_are_given_only_where_the_host_has_them(root: Path) -> None:
    async with watching(shelf("a"), host_root=root) as node:
        assert await given(node, "a") == ["/dev/npu/a"]
        assert await node.absent_nodes() == {"/dev/npu/ar"}
        make(root, "ar")
        assert await given(node, "a") == ["/dev/npu/a", "/dev/npu/ar"]
        assert await node.absent_nodes() == set()


async def test_a_node_that_is_a_link_is_given_as_what_it_leads_to(root: Path) -> None:
    (root / "dev/npu/b").symlink_to("/dev/npu/a")
    async with watching(shelf("b"), host_root=root) as node:
        assert await given(node, "b") == ["/dev/npu/a"]


@pytest.mark.parametrize("what", ["nothing", "folder", "plain file", "dangling link"])
async def test_a_required_node_that_is_none_is_named(root: Path, what: str) -> None:
    path = root / "dev/npu/b"
    said = {"folder": "is a folder", "plain file": "is a plain file"}.get(what, "is not on the host")
    match what:
        case "folder":
            path.mkdir()
        case "plain file":
            path.touch()
        case "dangling link":
            path.symlink_to("nowhere")
    async with watching(shelf("a", "b"), host_root=root) as node:
        with pytest.raises(AllocationError, match=rf"a, b cannot be used: /dev/npu/b {said}.*; load the driver"):
            await given(node, "a", "b")


async def test_devices_that_want_different_nodes_at_one_place_are_refused(root: Path) -> None:
    cards = Shelf()
    for id in "ab":
        cards.put(id, DeviceNode(f"/dev/npu/{id}", "/dev/npu"))
    async with watching(cards, host_root=root) as node:
        with pytest.raises(AllocationError, match="both /dev/npu/a and /dev/npu/b would be /dev/npu"):
            await given(node, "a", "b")


async def test_a_device_that_went_while_its_nodes_were_looked_at_is_not_given(root: Path) -> None:
    cards = shelf("a")
    async with watching(cards, host_root=root) as node:
        was = device(node, "a")
        cards.says["a"] = Reading(False, "dead")
        await until(node, lambda state: healthy(state) == [])
        with pytest.raises(AllocationError, match="a cannot be given any more: dead; start the pod again"):
            await node.allocator.allocate(NPU, [was])
        cards.take("a")
        await until(node, lambda state: ids(state) == [])
        with pytest.raises(AllocationError, match="it is not on this host any more"):
            await node.allocator.allocate(NPU, [was])


async def test_a_card_that_gets_the_nodes_of_a_held_one_is_withheld_until_its_pod_is_gone(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(holding, "AGAIN_S", 0.02)
    cards, kubelet = shelf("a"), Kubelet({"pod": ("a",)})
    async with watching(cards, kubelet=kubelet, host_root=root, configuration=configured(scan_interval_s=0.05)) as node:
        await given(node, "a")
        cards.take("a")
        cards.put("b", *nodes("a"))
        state = await until(node, lambda state: any(device.withheld for device in devices(state)))
        assert healthy(state) == []
        with pytest.raises(AllocationError, match="cannot be given any more: withheld"):
            await given(node, "b")
        kubelet.pods = {}
        clock = node.writer.clock
        for _ in range(3):
            clock.at += 60  # type: ignore[attr-defined]
            await anyio.sleep(0.05)
        await until(node, lambda state: healthy(state) == ["b"])


async def test_what_was_given_is_known_after_a_restart_also_where_kubelet_cannot_be_asked(root: Path) -> None:
    folder = Folder()
    async with watching(shelf("a"), store=folder, host_root=root) as node:
        await given(node, "a")
    other = Shelf()
    other.put("b", *nodes("a"))
    async with watching(other, store=folder, kubelet=Kubelet(None), host_root=root) as node:
        assert healthy(node.state.value) == []
        assert "was given to whoever holds a of furiosa.ai/npu" in devices(node.state.value)[0].withheld
    async with watching(other, store=Folder(), kubelet=Kubelet(None), host_root=root) as node:
        assert healthy(node.state.value) == ["b"], "a first start offers as usual"


async def test_only_backends_that_want_it_prepare_their_own_cards() -> None:
    plain, keen = Shelf("a", name="plain"), Preparing("b", "stubborn", name="keen")
    async with watching(plain, keen) as node:
        await node.allocator.prepare([device(node, "a"), device(node, "b")])
        assert keen.prepared == ["b"]
        with pytest.raises(AllocationError, match="stubborn cannot be reset"):
            await node.allocator.prepare([device(node, "stubborn")])

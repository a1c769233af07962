import pytest

from npu_agent.core.accelerator import ContainerEdits, DeviceNode, Mount
from npu_agent.core.edits import EditsConflict, merge


def edits(*nodes: str, **environment: str) -> ContainerEdits:
    return ContainerEdits(tuple(DeviceNode(node, node) for node in nodes), (), tuple(environment.items()))


def test_nodes_that_parts_of_a_card_share_come_once() -> None:
    merged = merge([edits("/dev/mgmt", "/dev/pe0"), edits("/dev/mgmt", "/dev/pe1")])
    assert [node.host_path for node in merged.device_nodes] == ["/dev/mgmt", "/dev/pe0", "/dev/pe1"]


def test_a_variable_of_several_devices_has_all_their_values() -> None:
    assert merge([edits(NPU="npu0"), edits(NPU="npu1"), edits(NPU="npu0")]).environment == (("NPU", "npu0,npu1"),)


def test_two_nodes_at_one_place_of_the_container_are_refused_with_both_names() -> None:
    one, two = (ContainerEdits((DeviceNode(host, "/dev/npu"),)) for host in ("/dev/npu0", "/dev/npu1"))
    with pytest.raises(EditsConflict, match="both /dev/npu0 and /dev/npu1 would be /dev/npu"):
        merge([one, two])


def test_two_mounts_at_one_place_of_the_container_are_refused_with_both_names() -> None:
    one, two = (ContainerEdits(mounts=(Mount(host, "/etc/npu"),)) for host in ("/a", "/b"))
    assert merge([one, one]).mounts == one.mounts
    with pytest.raises(EditsConflict, match="both /a and /b would be /etc/npu"):
        merge([one, two])


def test_annotations_are_joined_like_variables_and_cdi_devices_come_once() -> None:
    one, two = (ContainerEdits(annotations=(("a/b", name),), cdi_devices=("acme.com/npu=all", f"acme.com/npu={name}")) for name in "01")
    assert merge([one, two]) == ContainerEdits(
        annotations=(("a/b", "0,1"),), cdi_devices=("acme.com/npu=all", "acme.com/npu=0", "acme.com/npu=1")
    )

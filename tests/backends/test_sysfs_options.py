"""The options of the backend sysfs, and families of an administrator's own."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from npu_agent.backends.errors import OptionError
from npu_agent.backends.sysfs.backend import SysfsBackend
from npu_agent.core.accelerator import Accelerator, ContainerEdits, DeviceNode, Mount
from tests.backends.only import edits, without_parts
from tests.host_tree import HostTree

GAUDI = """
name: gaudi2
pci:
  vendor: "0x1da3"
  devices: ["0x1020"]
  driver: habanalabs
class:
  folder: accel
  entries: accel{index}
  name: accel{index}
identity:
  firmware: device/fw_os_ver
health:
  - attribute: device/status
    healthy: [operational, Operational]
  - attribute: pci:current_link_width
    healthy: ["16"]
    missing: healthy
nodes:
  - path: /dev/accel/accel{index}
  - path: /dev/accel/accel_controlD{index}
    container_path: /dev/accel/control{index}
    permissions: r
    required: false
labels:
  link-speed: pci:current_link_speed
mounts:
  - host_path: /usr/lib/habanalabs
  - host_path: /var/log/accel{index}
    container_path: /var/log/accel
    read_only: false
environment:
  HABANA_VISIBLE_DEVICES: "{index}"
  CARD: "{pci_address}/{part}"
annotations:
  habana.ai/card: "{serial}{index}"
cdi_devices: ["habana.ai/gaudi={index}"]
"""

DXRT = """
name: dx-m1
class:
  folder: dxrt
  entries: dxrt{index}
  name: dxrt{index}
health:
  - attribute: recovery/link_state
    healthy: [ready]
nodes:
  - path: /dev/dxrt{index}
"""

OLD_RNGD = """
name: rngd
class:
  folder: rngd_mgmt
  entries: rngd!npu{index}mgmt
identity:
  uuid: device_uuid
nodes:
  - path: /dev/rngd/npu{index}mgmt
"""


@pytest.fixture
def tree(tmp_path: Path) -> HostTree:
    return HostTree(tmp_path / "host")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "families"
    made.mkdir()
    return made


async def scan(tree: HostTree, options: Mapping[str, Any]) -> list[Accelerator]:
    async with SysfsBackend(options, host_root=tree.root) as backend:
        return list(await backend.scan())


async def test_only_the_families_that_are_named_are_looked_for(tree: HostTree) -> None:
    tree.rngd()
    tree.warboy()
    assert [accelerator.family for accelerator in await scan(tree, {"families": ["warboy"]})] == ["warboy"]
    assert await scan(tree, {"families": []}) == []


async def test_an_administrator_can_turn_what_healthy_means(tree: HostTree) -> None:
    tree.rngd(device_state="1")
    async with SysfsBackend({"healthy": {"rngd": {"device_state": ["1"]}}}, host_root=tree.root) as backend:
        (accelerator,) = await backend.scan()
        assert (await backend.probe(accelerator)).healthy


async def test_a_family_on_a_shared_class_folder_is_told_by_its_pci_id(tree: HostTree, folder: Path) -> None:
    (folder / "gaudi2.yaml").write_text(GAUDI)
    card = tree.other_function("0000:33:00.0", vendor="0x1da3", device="0x1020", driver="habanalabs")
    (card / "status").write_text("Operational\n")
    (card / "fw_os_ver").write_text("1.17")
    tree.class_entry("accel", "accel0", {}, function=card)
    tree.class_entry("accel", "accel1", {}, function=tree.other_function("0000:00:0b.0", device="0x643e", driver="intel_vpu"))
    tree.class_entry("accel", "accel2", {})
    async with SysfsBackend({"families_folder": str(folder)}, host_root=tree.root) as backend:
        (accelerator,) = await backend.scan()
        assert (accelerator.id, accelerator.name, accelerator.firmware) == ("0000-33-00.0", "accel0", "1.17")
        assert accelerator.location == ("numa0", "pci0000:00", "0000:00:01.0", "0000:33:00.0")
        assert accelerator.attributes == (("link-speed", "32.0 GT/s PCIe"),)
        assert (await backend.probe(accelerator)).healthy
        assert edits(accelerator) == ContainerEdits(
            (
                DeviceNode("/dev/accel/accel0", "/dev/accel/accel0"),
                DeviceNode("/dev/accel/accel_controlD0", "/dev/accel/control0", "r", required=False),
            ),
            (
                Mount("/usr/lib/habanalabs", "/usr/lib/habanalabs"),
                Mount("/var/log/accel0", "/var/log/accel", read_only=False),
            ),
            (("HABANA_VISIBLE_DEVICES", "0"), ("CARD", "0000:33:00.0/")),
            ("habana.ai/gaudi=0",),
            (("habana.ai/card", "0"),),
        )
        (card / "current_link_width").unlink()
        assert (await backend.probe(accelerator)).healthy
        (card / "current_link_width").write_text("8\n")
        (card / "status").write_text("needs reset\n")
        assert (await backend.probe(accelerator)).reason == (
            "device/status reads 'needs reset', and healthy is 'operational' or 'Operational';"
            " pci:current_link_width reads '8', and healthy is '16'"
        )


async def test_a_family_can_do_without_pci(tree: HostTree, folder: Path) -> None:
    (folder / "dxrt.yaml").write_text(DXRT)
    entry = tree.class_entry("dxrt", "dxrt7", {})
    (entry / "recovery").mkdir()
    (entry / "recovery/link_state").write_text("ready\n")
    async with SysfsBackend({"families_folder": str(folder)}, host_root=tree.root) as backend:
        (accelerator,) = await backend.scan()
        assert without_parts(accelerator) == Accelerator("dx-m1-dxrt7", "sysfs", "dx-m1", "dxrt7", location=("dx-m1-dxrt7",), parts=())
        assert (await backend.probe(accelerator)).healthy


async def test_a_family_without_health_is_healthy_while_its_entry_is_there(tree: HostTree, folder: Path) -> None:
    (folder / "rngd.yaml").write_text(OLD_RNGD)
    card = tree.rngd(device_state="7")
    async with SysfsBackend({"families_folder": str(folder)}, host_root=tree.root) as backend:
        (accelerator,) = await backend.scan()
        assert edits(accelerator).device_nodes == (DeviceNode("/dev/rngd/npu0mgmt", "/dev/rngd/npu0mgmt", major=1),)
        assert (await backend.probe(accelerator)).healthy
        tree.unbind(card)
        assert "is not there any more" in (await backend.probe(accelerator)).reason


async def test_a_family_whose_health_may_be_missing_is_unhealthy_when_its_entry_goes(tree: HostTree, folder: Path) -> None:
    rule = "health:\n  - attribute: device_state\n    healthy: ['0']\n    missing: healthy\n"
    (folder / "rngd.yaml").write_text(OLD_RNGD + rule)
    card = tree.rngd()
    async with SysfsBackend({"families_folder": str(folder)}, host_root=tree.root) as backend:
        (accelerator,) = await backend.scan()
        tree.set(card, "device_state", None)
        assert (await backend.probe(accelerator)).healthy
        tree.unbind(card)
        assert "is not there any more" in (await backend.probe(accelerator)).reason


async def test_a_card_that_two_families_describe_is_of_the_first(tree: HostTree, folder: Path) -> None:
    (folder / "mine.yaml").write_text(OLD_RNGD.replace("name: rngd", "name: sngd"))
    tree.rngd()
    (found,) = await scan(tree, {"families_folder": str(folder)})
    assert found.family == "sngd"
    assert "the families sngd and rngd both describe it, and it is taken for sngd" in found.notices[0]
    (found,) = await scan(tree, {"families_folder": str(folder), "families": ["rngd", "sngd"]})
    assert found.family == "rngd"
    (found,) = await scan(tree, {"families_folder": str(folder), "families": ["sngd"]})
    assert (found.family, found.attributes) == ("sngd", ())


@pytest.mark.parametrize(
    ("options", "path", "said"),
    [
        ({"famlies": []}, "famlies", "is not a known field; did you mean families?"),
        ({"families": "rngd"}, "families", 'expected a list, got "rngd"'),
        ({"families": ["rngd", "rngdd"]}, "families[1]", 'there is no family "rngdd"; did you mean rngd?'),
        ({"families_folder": "/nowhere"}, "families_folder", "/nowhere: cannot be read: No such file or directory"),
        ({"families_folder": 5}, "families_folder", "expected a text, got 5; put it in quotes to make it a text"),
        ({"healthy": {"rngd": {"device_state": ["0", 1]}}}, "healthy.rngd.device_state[1]", "expected a text, got 1"),
        ({"healthy": {"rngd": {"device_state": []}}}, "healthy.rngd.device_state", "expected at least one value, got none"),
        ({"healthy": {"rngd": {"alive": ["1"]}}}, "healthy.rngd.alive", "does not depend on it; it depends on device_state"),
        ({"healthy": {"warbay": {}}}, "healthy.warbay", "there is no such family in use; there are rngd, warboy"),
        ({"healthy": {"x": {}, "y": {}}}, "healthy.x", "healthy.y: there is no such family in use"),
    ],
)
def test_a_wrong_option_is_told_with_its_place(options: Mapping[str, Any], path: str, said: str) -> None:
    with pytest.raises(OptionError) as caught:
        SysfsBackend(options, host_root=Path("/nowhere"))
    assert caught.value.path == path
    assert said in str(caught.value)


def test_a_mistake_in_an_own_family_is_told_with_file_line_and_field(folder: Path) -> None:
    (folder / "dxrt.yaml").write_text(DXRT.replace("healthy: [ready]", "healthy: []"))
    with pytest.raises(OptionError) as caught:
        SysfsBackend({"families_folder": str(folder)}, host_root=Path("/nowhere"))
    assert str(caught.value) == (f"families_folder: {folder}/dxrt.yaml: line 9: health[0].healthy: expected at least one value, got none")

"""What families can say beyond one file with one value: cards without entries, pieces of files, counters, models, what is found."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from npu_agent.backends.sysfs.backend import SysfsBackend
from npu_agent.core.accelerator import Accelerator, DeviceNode, Mount, Reading
from npu_agent.core.selection import Selector
from tests.backends.only import edits, only
from tests.host_tree import HostTree

Opened = Callable[[str], AbstractAsyncContextManager[SysfsBackend]]


@pytest.fixture
def opened(tree: HostTree, tmp_path_factory: pytest.TempPathFactory) -> Opened:
    """Makes the backend that knows one family alone."""

    @asynccontextmanager
    async def backend(family: str) -> AsyncIterator[SysfsBackend]:
        folder = tmp_path_factory.mktemp("families")
        (folder / "own.yaml").write_text(family)
        made = SysfsBackend({"families_folder": str(folder), "families": ["own"]}, host_root=tree.root)
        async with made:
            yield made

    return backend


ON_THE_BUS = """
name: own
pci: {vendor: "0x1eff", devices: ["0x1220", "0x1250"], driver: rebellions, name: "rbln{index}"}
index: {attribute: pci:pools, pattern: "rbln([0-9]+) "}
found: {render: pci:drm/renderD*}
models:
  - {name: ca22, devices: ["0x1220"], product: {name: RBLN-CA22, memory_gib: 16}}
  - {name: ca25, devices: ["0x1250"]}
identity:
  driver: sys:class/rebellions/rbln{index}/kernel_version
health:
  - {attribute: "sys:class/rebellions/rbln{index}/status", healthy: ["0"]}
nodes:
  - {path: "/dev/{name}"}
  - {path: "/dev/dri/{render}", required: false}
mounts:
  - {host_path: "/opt/{name}/lib*.so"}
environment: {CARD: "{name} {model} {iommu_group} {numa_node} {render}"}
"""


def on_the_bus(tree: HostTree, *, bdf: str = "0000:33:00.0", device: str = "0x1220", index: int = 5) -> Path:
    function = tree.other_function(bdf, vendor="0x1eff", device=device, driver="rebellions")
    (function / "pools").write_text(f"poolinfo - 0.1\nrbln{index}               0    4 1024  1\n")
    tree.class_entry("rebellions", f"rbln{index}", {"status": "0\n", "kernel_version": "1.2.92-6d00b56\n"})
    return function


async def test_a_pci_function_is_a_card_whose_number_a_file_says(tree: HostTree, opened: Opened) -> None:
    function = on_the_bus(tree)
    (function / "iommu_group").symlink_to("../../../kernel/iommu_groups/17")
    async with opened(ON_THE_BUS) as backend:
        card = await only(backend)
        assert (card.name, card.id, card.driver, card.unusable) == ("rbln5", "0000-33-00.0", "1.2.92-6d00b56", "")
        assert card.location == ("numa0", "pci0000:00", "0000:00:01.0", "0000:33:00.0")
        assert edits(card).device_nodes == (DeviceNode("/dev/rbln5", "/dev/rbln5"),)
        assert edits(card).mounts == (Mount("/opt/rbln5/lib*.so", "/opt/rbln5/lib*.so"),)
        assert edits(card).environment == (("CARD", "rbln5 ca22 17 0 "),)
        assert await backend.probe(card) == Reading(True)
        (tree.root / "sys/devices/virtual/rebellions/rbln5/status").write_text("3\n")
        assert "sys:class/rebellions/rbln{index}/status reads '3', and healthy is '0'" in (await backend.probe(card)).reason


async def test_what_is_found_by_a_star_is_the_first_of_its_kind(tree: HostTree, opened: Opened) -> None:
    function = on_the_bus(tree)
    for name in ("renderD130", "renderD129", "card1", "renderD1290"):
        (function / "drm" / name).mkdir(parents=True)
    async with opened(ON_THE_BUS) as backend:
        assert [node.host_path for node in edits(await only(backend)).device_nodes] == ["/dev/rbln5", "/dev/dri/renderD129"]


async def test_a_card_has_the_model_of_its_pci_id(tree: HostTree, opened: Opened) -> None:
    on_the_bus(tree)
    on_the_bus(tree, bdf="0000:34:00.0", device="0x1250", index=6)
    tree.other_function("0000:35:00.0", vendor="0x1eff", device="0x1250", driver="")
    async with opened(ON_THE_BUS) as backend:
        cards = await backend.scan()
        assert [(card.pci_address[5:7], card.model, card.model_line.product.name) for card in cards] == [
            ("33", "ca22", "RBLN-CA22"),
            ("34", "ca25", ""),
            ("35", "ca25", ""),
        ]
        assert [Selector(models=("ca22",)).matches(card) for card in cards] == [True, False, False]


async def test_a_card_whose_number_is_not_told_yet_cannot_be_used_until_it_is(tree: HostTree, opened: Opened) -> None:
    function = on_the_bus(tree)
    (function / "pools").write_text("poolinfo - 0.1\n")
    async with opened(ON_THE_BUS) as backend:
        for _ in range(3):
            assert "its pci:pools, which says its number, is missing" in (await only(backend)).unusable
        (function / "pools").write_text("rbln7 0\n")
        card = await only(backend)
        assert (card.name, card.unusable) == ("rbln7", "")


async def test_a_function_without_its_driver_is_told_and_taken_when_it_has_it(tree: HostTree, opened: Opened) -> None:
    tree.other_function("0000:33:00.0", vendor="0x1eff", device="0x1220", driver="vfio-pci")
    async with opened(ON_THE_BUS) as backend:
        assert "is bound to vfio-pci, so it is kept for virtual machines; bind it to rebellions" in (await only(backend)).unusable
        on_the_bus(tree)
        assert (await only(backend)).unusable == ""


async def test_a_guard_of_a_function_says_why_it_is_not_taken(tree: HostTree, opened: Opened) -> None:
    function = on_the_bus(tree)
    async with opened(ON_THE_BUS.replace('name: "rbln', 'guards: {"pci:sriov_numvfs": ["0", ""]}, name: "rbln')) as backend:
        assert (await only(backend)).unusable == ""
    (function / "sriov_numvfs").write_text("4\n")
    async with opened(ON_THE_BUS.replace('name: "rbln', 'guards: {"pci:sriov_numvfs": ["0", ""]}, name: "rbln')) as backend:
        assert (await only(backend)).unusable.endswith(
            "but it is not taken: 0000:33:00.0: its pci:sriov_numvfs reads '4' and not '0' or ''"
        )


VFIO = """
name: own
pci: {vendor: "0x1ae0", classes: ["0x0880", "0x02"], driver: vfio-pci, name: "vfio{iommu_group}"}
nodes: [{path: "/dev/vfio/{iommu_group}"}, {path: /dev/vfio/vfio, shared: true}]
"""


async def test_a_card_is_named_by_its_iommu_group_and_known_by_its_class(tree: HostTree, opened: Opened) -> None:
    function = tree.other_function("0000:33:00.0", vendor="0x1ae0", device="0x0063", driver="vfio-pci")
    other = tree.other_function("0000:34:00.0", vendor="0x1ae0", device="0x0042", driver="vfio-pci")
    (other / "class").write_text("0x010802\n")
    async with opened(VFIO) as backend:
        assert (await only(backend)).unusable.endswith(
            "it has no iommu group, which is in the name of its device node; see the kernel's log"
        )
        (function / "iommu_group").symlink_to("../../../kernel/iommu_groups/17")
        async with opened(VFIO) as again:
            card = await only(again)
        assert (card.name, [node.host_path for node in edits(card).device_nodes]) == ("vfio17", ["/dev/vfio/17", "/dev/vfio/vfio"])


TWO_CLASSES = """
name: own
pci: {vendor: "0x1da3", devices: ["0x1020"], driver: habanalabs}
class:
  - {folder: accel, entries: "accel{index}", name: "accel{index}"}
  - {folder: habanalabs, entries: "hl{index}", name: "hl{index}"}
health:
  - {attribute: [device/status, status], healthy: [operational], any_case: true}
nodes:
  - {path: "/dev/accel/accel{index}", class: accel}
  - {path: "/dev/hl{index}", class: habanalabs}
"""


async def test_a_card_that_two_folders_show_is_of_the_first(tree: HostTree, opened: Opened) -> None:
    function = tree.other_function("0000:33:00.0", vendor="0x1da3", device="0x1020", driver="habanalabs")
    entry = tree.class_entry("habanalabs", "hl3", {"status": "Operational\n"}, function=function)
    async with opened(TWO_CLASSES) as backend:
        card = await only(backend)
        assert (card.name, [node.host_path for node in edits(card).device_nodes]) == ("hl3", ["/dev/hl3"])
        assert await backend.probe(card) == Reading(True)
        (entry / "status").write_text("in reset\n")
        assert "status reads 'in reset'" in (await backend.probe(card)).reason
        (function / "status").write_text("Operational\n")
        tree.class_entry("accel", "accel0", {}, function=function)
        card = await only(backend)
        assert (card.name, [node.host_path for node in edits(card).device_nodes]) == ("accel0", ["/dev/accel/accel0"])
        assert await backend.probe(card) == Reading(True)


RULED = """
name: own
class: {folder: own, entries: "own{index}", name: "own{index}"}
nodes: [{path: "/dev/own{index}"}]
health:
"""


@pytest.mark.parametrize(
    ("rule", "good", "bad", "said"),
    [
        ("unhealthy: [fail, dead]", "ready", "dead", "value reads 'dead', which is unhealthy"),
        ("unhealthy: [fail], any_case: true", "ready", "FAIL", "value reads 'FAIL', which is unhealthy"),
        ("at_least: 8, at_most: 16.5", "16", "7.5", "value is below 8"),
        ("at_most: 95", "95 C", "95.5 C", "value is above 95"),
        ("at_most: 15", "0xf", "0x10", "value is above 15"),
        ("at_most: 95", "-3", "hot", "value reads 'hot', which does not begin with a number"),
        ("at_least_of: most", "16.0 GT/s PCIe", "8.0 GT/s PCIe", "value is below 16, which is most"),
        (
            "after: TOTAL_ERR_FATAL, healthy: ['0']",
            "DLP 5\nTOTAL_ERR_FATAL 0",
            "DLP 0\nTOTAL_ERR_FATAL 1",
            "TOTAL_ERR_FATAL of value reads '1'",
        ),
        ("after: TOTAL, healthy: ['0']", "TOTAL 0", "nothing", "TOTAL of value is missing"),
        ("pattern: 'state=([a-z]+)', healthy: [up]", "x=1\nstate=up", "x=1\nstate=down", "value reads 'down', and healthy is 'up'"),
        ("healthy: [a], advice: reset the card", "a", "b", "value reads 'b', and healthy is 'a'; reset the card"),
    ],
)
async def test_a_rule_judges_in_its_own_way(tree: HostTree, opened: Opened, rule: str, good: str, bad: str, said: str) -> None:
    entry = tree.class_entry("own", "own0", {"value": f"{good}\n", "most": "16.0 GT/s PCIe\n"})
    async with opened(RULED + f"  - {{attribute: value, {rule}}}") as backend:
        card = await only(backend)
        assert await backend.probe(card) == Reading(True)
        (entry / "value").write_text(f"{bad}\n")
        reading = await backend.probe(card)
        assert not reading.healthy
        assert reading.reason.startswith(said)
        (entry / "value").unlink()
        assert (await backend.probe(card)).reason.endswith("value is missing")


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("npu_agent.backends.sysfs.backend.clock", made)
    return made


async def test_a_counter_that_grew_is_unhealthy_for_a_while(tree: HostTree, opened: Opened, clock: Clock) -> None:
    entry = tree.class_entry("own", "own0", {"errors": "7\n"})
    async with opened(RULED + "  - {attribute: errors, counter: steady, within_s: 30}") as backend:
        card = await only(backend)
        assert (await backend.probe(card)).healthy
        (entry / "errors").write_text("9\n")
        assert await backend.probe(card) == Reading(False, "errors has grown within 30 s")
        clock.now += 29
        assert not (await backend.probe(card)).healthy
        clock.now += 1
        assert (await backend.probe(card)).healthy
        (entry / "errors").write_text("0\n")  # the driver was loaded again
        assert (await backend.probe(card)).healthy
        (entry / "errors").write_text("none\n")
        assert "reads 'none', which does not begin with a number" in (await backend.probe(card)).reason


async def test_a_heart_must_beat(tree: HostTree, opened: Opened, clock: Clock) -> None:
    entry = tree.class_entry("own", "own0", {"beat": "1\n"})
    async with opened(RULED + "  - {attribute: beat, counter: beating, within_s: 10, missing: healthy}") as backend:
        card = await only(backend)
        assert (await backend.probe(card)).healthy
        clock.now += 10
        assert await backend.probe(card) == Reading(False, "beat has not changed for 10 s")
        (entry / "beat").write_text("2\n")
        assert (await backend.probe(card)).healthy
        (entry / "beat").unlink()
        assert (await backend.probe(card)).healthy


async def test_a_rule_that_warns_is_a_notice_while_it_lasts(tree: HostTree, opened: Opened) -> None:
    entry = tree.class_entry("own", "own0", {"width": "8\n", "most": "16\n"})
    rule = "  - {attribute: width, at_least_of: most, warn: true, advice: reseat the card}\n  - {attribute: none, at_most: 1, warn: true}"
    async with opened(RULED + rule) as backend:
        card = await only(backend)
        assert card.notices == ()
        assert (await backend.probe(card)).healthy
        assert (await only(backend)).notices == ("width is below 16, which is most; reseat the card",)
        (entry / "width").write_text("16\n")
        assert (await backend.probe(card)).healthy
        assert (await only(backend)).notices == ()


async def test_a_link_says_the_name_of_the_folder_that_it_leads_to(tree: HostTree, opened: Opened) -> None:
    entry = tree.class_entry("accel", "accel0", {})
    (tree.root / "sys/bus/platform/drivers/rocket").mkdir(parents=True)
    (entry / "device").mkdir()
    (entry / "device/driver").symlink_to(tree.root / "sys/bus/platform/drivers/rocket")
    family = """
name: own
class: {folder: accel, entries: "accel{index}", name: "accel{index}", guards: {device/driver: [rocket]}}
nodes: [{path: "/dev/accel/accel{index}"}]
"""
    async with opened(family) as backend:
        assert await backend.scan() == []  # an absolute link is the host's, and the host has no such folder
        (entry / "device/driver").unlink()
        (entry / "device/driver").symlink_to("../../../../../bus/platform/drivers/rocket")
        assert (await only(backend)).name == "accel0"


async def test_attributes_of_proc_debugfs_and_hwmon_are_told_with_their_unit(tree: HostTree, opened: Opened) -> None:
    function = on_the_bus(tree)
    proc, debug, hwmon = tree.root / "proc/driver/own/5", tree.root / "sys/kernel/debug/own", function / "hwmon/hwmon3"
    for folder in (proc, debug, hwmon):
        folder.mkdir(parents=True)
    (proc / "information").write_text("Model: \t Own 1\nGPU UUID: \t GPU-1\n")
    (debug / "version").write_text("own driver: v0.9.8\n")
    (hwmon / "temp1_max").write_text("105000\n")
    family = ON_THE_BUS + (
        "labels:\n  model-name: {attribute: 'proc:driver/own/{index}/information', after: Model}\n"
        "  version: {attribute: 'debug:own/version', pattern: 'own driver: v([0-9.]+)'}\n"
        "  limit: {attribute: 'pci:hwmon/hwmon*/temp1_max', pattern: '([0-9]+)000', unit: °C}\n"
        "  none: {attribute: 'proc:nothing', unit: x}\n"
    )
    async with opened(family) as backend:
        assert (await only(backend)).attributes == (("model", "ca22"), ("model-name", "Own 1"), ("version", "0.9.8"), ("limit", "105 °C"))


NODES_ONLY = """
name: own
class: {folder: /dev, entries: "aries{index}", name: "aries{index}"}
nodes: [{path: "/dev/aries{index}"}]
"""


async def test_a_driver_without_a_class_is_found_by_its_device_nodes(tree: HostTree, opened: Opened) -> None:
    function = tree.other_function("0000:33:00.0", vendor="0x209f", device="0x0001", driver="aries")
    (function / "own/aries4").mkdir(parents=True)
    (tree.root / "sys/dev/char").mkdir(parents=True)
    (tree.root / "sys/dev/char/1:3").symlink_to(f"../../{function.relative_to(tree.root / 'sys')}/own/aries4")
    tree.node("/dev/aries4")
    async with opened(NODES_ONLY) as backend:
        card = await only(backend)
        if card.unusable:  # without the privilege to make device nodes
            assert card.unusable == "/dev/aries4 is no character device; see the kernel's log"
            return
        assert (card.name, card.numa_node, card.pci_address) == ("aries4", 0, "0000:33:00.0")
        assert edits(card).device_nodes == (DeviceNode("/dev/aries4", "/dev/aries4", major=1),)
        assert (await backend.probe(card)).healthy
        (tree.root / "dev/aries4").unlink()
        assert "/dev/aries4 is not there any more" in (await backend.probe(card)).reason


async def test_entries_that_do_not_name_their_functions_hide_those_that_have_a_driver(tree: HostTree, opened: Opened) -> None:
    tree.class_entry("dxrt", "dxrt0", {})
    tree.other_function("0000:33:00.0", vendor="0x1ff4", device="0x0100", driver="dx_dma_pcie")
    tree.other_function("0000:34:00.0", vendor="0x1ff4", device="0x0100", driver="")
    family = """
name: own
pci: {vendor: "0x1ff4", devices: ["0x0100"], driver: dx_dma_pcie, linked: false}
class: {folder: dxrt, entries: "dxrt{index}", name: "dxrt{index}"}
nodes: [{path: "/dev/dxrt{index}"}]
"""
    async with opened(family) as backend:
        card, other = await backend.scan()
        assert (card.name, card.unusable, card.notices) == ("dxrt0", "", ())
        assert "no driver is bound to 0000:34:00.0" in other.unusable


async def test_parts_are_those_that_the_card_is_set_up_for(tree: HostTree, opened: Opened) -> None:
    family = """
name: own
class: {folder: own, entries: "own{index}", name: "own{index}"}
nodes: [{path: "/dev/own{index}pe{each}", each: ["0", "1", "0-1"], required: false, divided: true}]
partitions: {1core: {pe0: ["0"], pe1: ["1"]}, 2core: {pe0-1: ["0", "1", "0-1"]}}
offered: cur_pe_ids
"""
    entry = tree.class_entry("own", "own0", {"cur_pe_ids": "0,1"})

    def unusable(card: Accelerator) -> dict[str, str]:
        return {part.name: part.unusable for part in card.parts if part.unusable}

    async with opened(family) as backend:
        assert unusable(await only(backend)) == {"pe0-1": "the card is not set up for 0-1"}
    (entry / "cur_pe_ids").unlink()
    async with opened(family) as backend:
        assert unusable(await only(backend)) == {}


async def test_an_experimental_family_says_so_of_each_card(tree: HostTree, opened: Opened) -> None:
    tree.class_entry("own", "own0", {})
    async with opened(RULED.replace("health:", "experimental: the vendor has not published its driver")) as backend:
        assert (await only(backend)).notices == ("the family own is experimental: the vendor has not published its driver",)

"""A host with accelerators, written below a folder as its kernel would show it: `/sys` with PCI tree and class folders, and `/dev`.

    tree = HostTree(tmp_path)
    card = tree.rngd(index=0, numa_node=1)
    tree.set(card, "device_state", "1\\n")
    tree.remove(card)

`tree.root` is what the agent is told as `--host-root`. File contents, also where a newline is missing, are those of real cards.
"""

import os
import shutil
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

COUNTERS = ("Post Error", "Fetch Error", "Discard Error", "Doorbell done")
ATR_ERROR = "".join(f"{bus} {counter}: 0\n" for bus in ("AXI", "PCIe") for counter in COUNTERS) + "Device Error: 0\n"
WARBOY_BUSES = ("6d", "6e", "73", "74", "d9", "da", "df", "e0")
RNGD_BUSES = ("27", "2a", "51", "57", "9e", "a4", "c7", "ca")
RNGD_PES = ("0", "1", "2", "3", "4", "5", "6", "7", "0-1", "2-3", "4-5", "6-7", "0-3", "4-7")
NULL = os.makedev(1, 3)
DEV = f"{os.major(NULL)}:{os.minor(NULL)}\n"
"""What the drivers say of their nodes: those of the tree are null devices."""


@dataclass(frozen=True, slots=True)
class Card:
    """A card of the tree. `attributes` is its folder in the class, `pci` its function's folder; `nodes` are paths on the host.

    A card without a driver has neither attributes nor nodes. `uuid` is as the file has it, without the newline.
    """

    family: str
    index: int | None
    bdf: str
    uuid: str
    pci: Path
    attributes: Path | None
    nodes: tuple[str, ...] = ()


class HostTree:
    """The tree below `root`, made as cards are added. Cards of index 0 to 7 sit in pairs below a switch, four on each NUMA node."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("sys/bus/pci/devices", "sys/bus/pci/drivers", "sys/class", "sys/devices/virtual", "dev", "proc"):
            (root / folder).mkdir(parents=True, exist_ok=True)

    def warboy(
        self,
        index: int = 0,
        *,
        uuid: str | None = None,
        serial: str | None = None,
        bdf: str | None = None,
        numa_node: int | None = None,
        alive: str = "1",
    ) -> Card:
        """A Warboy with its driver. A `numa_node` of -1 is the kernel's way to say unknown."""
        bdf = bdf or _bdf(WARBOY_BUSES, index)
        uuid = f"AAAAAAAA-AAAA-AAAA-AAAA-{index:012X}" if uuid is None else uuid
        pci = self._own_function(bdf, "0x0000", index, numa_node, driver="npu_pdma")
        files = {
            "platform_type": "FuriosaAI\n",
            "device_type": "Warboy\n",
            "busname": f"{bdf}\n",
            "dev": DEV,
            "device_sn": f"WBYB{index:013d}\n" if serial is None else f"{serial}\n",
            "device_uuid": f"{uuid}\n",
            "version": "1.0.0, 0000000\n",
            "fw_version": "1.6.0, c1bebfd",
            "soc_rev": "B0\n",
            "soc_uid": "",
            "alive": f"{alive}\n",
            "heartbeat": "42\n",
            "atr_error": ATR_ERROR,
            "performance_mode": "4 (FULL 1)\n",
            "pe_status": "0x3\n",
        }
        attributes = self.class_entry("npu_mgmt", f"npu{index}_mgmt", files)
        for pe in ("0", "1", "0-1"):
            self.class_entry("npu_mgmt", f"npu{index}pe{pe}", {"perf_regs": "CycleCount: 0x0\n"})
        nodes = self._nodes(f"/dev/npu{index}{rest}" for rest in ("_mgmt", "", "pe0", "pe1", "pe0-1"))
        return Card("warboy", index, bdf, uuid, pci, attributes, nodes)

    def rngd(
        self,
        index: int = 0,
        *,
        uuid: str | None = None,
        serial: str | None = None,
        bdf: str | None = None,
        numa_node: int | None = None,
        device_state: str = "0",
        remote_dma: bool = False,
    ) -> Card:
        """An RNGD with its driver. `remote_dma` adds the nodes for card-to-card transfers that newer drivers have."""
        bdf = bdf or _bdf(RNGD_BUSES, index)
        uuid = f"82540B87-1055-48C6-AAB1-{index:012X}" if uuid is None else uuid
        pci = self._own_function(bdf, "0x0001", index, numa_node, driver="furiosa_rngd")
        files = {
            "platform_type": "FuriosaAI\n",
            "device_type": "RNGD\n",
            "busname": bdf,
            "dev": DEV,
            "device_sn": f"RNGD{143 + index:06d}\n" if serial is None else serial,
            "device_uuid": f"{uuid}\n",
            "device_state": f"{device_state}\n",
            "version": "1.0.0, 0abcdef\n",
            "fw_version": "2025.1.0+696efad\n",
            "soc_id": "00000000-AAAAAAAA\n",
            "board_revision": "BD_REV_INIT\n",
            "cur_pe_ids": ",".join(RNGD_PES),
            "heartbeat": "0\n",
            "atr_error": ATR_ERROR.rstrip("\n"),
            "npu_clocks": "0\n" * 7 + "0",
        }
        attributes = self.class_entry("rngd_mgmt", f"rngd!npu{index}mgmt", files)
        rests = ["mgmt", *(f"pe{pe}" for pe in RNGD_PES), *(f"ch{n}" for n in range(8)), "dmar", "bar0", "bar2", "bar4"]
        if remote_dma:
            rests += [f"ch{n}r" for n in range(8)]
        for rest in rests[1:]:
            self.class_entry("rngd_mgmt", f"rngd!npu{index}{rest}", {})
        return Card("rngd", index, bdf, uuid, pci, attributes, self._nodes(f"/dev/rngd/npu{index}{rest}" for rest in rests))

    def unbound(self, family: str = "rngd", *, bdf: str | None = None, numa_node: int = 0, driver: str = "") -> Card:
        """A card that its own driver does not have: bound to no driver at all, or to another one such as vfio-pci."""
        bdf = bdf or {"rngd": "0000:27:00.0", "warboy": "0000:6d:00.0"}[family]
        device = {"rngd": "0x0001", "warboy": "0x0000"}[family]
        return Card(family, None, bdf, "", self._pci_function(bdf, device, numa_node, driver=driver), None)

    def other_function(self, bdf: str, *, vendor: str = "0x8086", device: str = "0x1572", driver: str = "i40e") -> Path:
        """A PCI function that is no accelerator; its folder is returned."""
        return self._pci_function(bdf, device, 0, vendor=vendor, driver=driver)

    def class_entry(self, class_name: str, name: str, files: Mapping[str, str], *, function: Path | None = None) -> Path:
        """An entry of a folder in /sys/class, as a device of its own or as a child of a PCI function; its real folder is returned."""
        folder = (function or self.root / "sys/devices/virtual") / class_name / name
        folder.mkdir(parents=True, exist_ok=True)
        if function is not None:
            _link(folder / "device", f"../../../{function.name}")
        for file, content in files.items():
            (folder / file).write_text(content)
        entry = self.root / "sys/class" / class_name / name
        entry.parent.mkdir(exist_ok=True)
        _link(entry, f"../../{folder.relative_to(self.root / 'sys')}")
        return folder

    def node(self, path: str) -> None:
        """A device node; an empty file stands for it where none can be made."""
        self._nodes([path])

    def set(self, card: Card, attribute: str, content: str | bytes | None) -> None:
        """Give an attribute of the card exactly this content; None removes it. "pci:numa_node" is one of the card's PCI function."""
        path = self.path(card, attribute)
        path.unlink(missing_ok=True)
        if content is not None:
            path.write_bytes(content.encode() if isinstance(content, str) else content)

    def hang(self, card: Card, attribute: str) -> None:
        """Make every read of the attribute hang, as those of a dying card do, until `release`."""
        path = self.path(card, attribute)
        path.unlink(missing_ok=True)
        os.mkfifo(path)

    def release(self, card: Card, attribute: str, content: str) -> None:
        """Let the read that hangs come back with `content`, and those that follow."""
        path = self.path(card, attribute)
        fresh = path.with_name(f"{path.name}.fresh")
        fresh.write_text(content)
        # Opened before it is replaced, so that no reader is left on a FIFO that nobody can find any more.
        gate = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        fresh.replace(path)
        os.write(gate, content.encode())
        os.close(gate)

    def remove(self, card: Card) -> None:
        """Take the card out of the machine: its PCI function, its class entries and its nodes go."""
        self.unbind(card)
        (self.root / "sys/bus/pci/devices" / card.bdf).unlink()
        shutil.rmtree(card.pci)

    def unbind(self, card: Card) -> None:
        """Take the driver off the card, as writing to its `unbind` does. `warboy` or `rngd` of the same index binds it again."""
        (card.pci / "driver").unlink(missing_ok=True)
        if card.attributes is not None:
            prefix = card.attributes.name.removesuffix("mgmt").rstrip("_")
            virtual = card.attributes.parent
            for entry in (self.root / "sys/class" / virtual.name).iterdir():
                if entry.name.startswith(prefix) and not entry.name[len(prefix) :][:1].isdigit():
                    entry.unlink()
                    shutil.rmtree(virtual / entry.name)
        for node in card.nodes:
            (self.root / node.lstrip("/")).unlink(missing_ok=True)

    def path(self, card: Card, attribute: str) -> Path:
        """The file of an attribute of the card, or of its PCI function ("pci:numa_node")."""
        if attribute.startswith("pci:"):
            return card.pci / attribute.removeprefix("pci:")
        assert card.attributes is not None
        return card.attributes / attribute

    def _own_function(self, bdf: str, device: str, index: int, numa_node: int | None, *, driver: str) -> Path:
        half = index // 4 % 2
        node = half if numa_node is None else numa_node
        return self._pci_function(bdf, device, node, root_bridge=("0000:00", "0000:80")[half], switch=index // 2, driver=driver)

    def _pci_function(
        self,
        bdf: str,
        device: str,
        numa_node: int,
        *,
        vendor: str = "0x1ed2",
        root_bridge: str = "0000:00",
        switch: int = 0,
        driver: str = "",
    ) -> Path:
        port = f"{root_bridge}:{switch + 1:02x}.0"
        folder = self.root / "sys/devices" / f"pci{root_bridge}" / port / bdf
        folder.mkdir(parents=True, exist_ok=True)
        files = {
            "vendor": vendor,
            "device": device,
            "class": "0x120000" if vendor == "0x1ed2" else "0x020000",
            "revision": "0x00",
            "numa_node": str(numa_node),
            "local_cpus": "0000,00000003" if numa_node < 1 else "0000,0000000c",
            "current_link_speed": "32.0 GT/s PCIe",
            "current_link_width": "16",
        }
        for name, content in files.items():
            (folder / name).write_text(f"{content}\n")
        _link(self.root / "sys/bus/pci/devices" / bdf, f"../../../devices/pci{root_bridge}/{port}/{bdf}")
        (folder / "driver").unlink(missing_ok=True)
        if driver:
            (self.root / "sys/bus/pci/drivers" / driver).mkdir(exist_ok=True)
            _link(folder / "driver", f"../../../../bus/pci/drivers/{driver}")
        return folder

    def _nodes(self, paths: Iterable[str]) -> tuple[str, ...]:
        made = tuple(paths)
        for path in made:
            node = self.root / path.lstrip("/")
            node.parent.mkdir(parents=True, exist_ok=True)
            node.unlink(missing_ok=True)
            try:
                os.mknod(node, 0o666 | stat.S_IFCHR, NULL)
                node.chmod(0o666)
            except PermissionError:  # without the privilege to make device nodes, an empty file stands for one
                node.touch()
        return made


def _link(path: Path, target: str) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def _bdf(buses: tuple[str, ...], index: int) -> str:
    return f"0000:{buses[index % 8]}:{index // 8:02x}.0"

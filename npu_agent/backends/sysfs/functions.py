"""Functions on the PCI bus, as sysfs shows them."""

import re
from dataclasses import dataclass

from npu_agent.families.family import Family
from npu_agent.host.files import link_name, read_text, resolve

PCI_DEVICES = "/sys/bus/pci/devices"
ADDRESS = re.compile(r"[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_GROUP = re.compile(r"[0-9]{1,9}")
_MAX_NUMA_NODE = 1023
"""The kernel is built for 1024 nodes at the most."""


@dataclass(frozen=True, slots=True)
class PciFunction:
    """A function on the PCI bus. `path` is its folder on the host, with all links followed.

    `driver` is empty if none is bound, and `iommu_group` where the machine has no IOMMU.
    """

    address: str
    vendor: str
    device: str
    path: str
    numa_node: int | None = None
    driver: str = ""
    class_code: str = ""
    iommu_group: str = ""


def read_function(prefix: str, address: str, *, of_vendors: set[str] | None = None) -> PciFunction | None:
    """Return the PCI function, or None if it is not there or not of one of the vendors. Raises OSError."""
    path = resolve(prefix, f"{PCI_DEVICES}/{address}")
    at = f"{prefix}{path}"
    try:
        # The kernel's PCI core answers these from memory and no driver is asked, so they need no thread of their own.
        vendor = read_text(f"{at}/vendor", wait=False)
        if of_vendors is not None and vendor not in of_vendors:
            return None
        device = read_text(f"{at}/device", wait=False)
    except FileNotFoundError:
        return None
    group = link_name(f"{at}/iommu_group")
    return PciFunction(
        address,
        vendor,
        device,
        path,
        _numa_node(_text(f"{at}/numa_node")),
        link_name(f"{at}/driver"),
        _text(f"{at}/class"),
        group if _GROUP.fullmatch(group) else "",
    )


def is_of(function: PciFunction | None, family: Family) -> bool:
    """Whether the PCI id and the class of the function are of the family."""
    pci = family.pci
    return (
        function is not None
        and pci is not None
        and function.vendor == pci.vendor
        and (not pci.devices or function.device in pci.devices)
        and (not pci.classes or function.class_code.startswith(tuple(pci.classes)))
    )


def has_own_driver(function: PciFunction, family: Family) -> bool:
    """Whether the function is bound to the driver that the family names, or to any where it names none."""
    own = family.pci.driver if family.pci else ""
    return bool(function.driver) and (not own or function.driver == own)


def _text(path: str) -> str:
    try:
        return read_text(path, wait=False)
    except OSError:
        return ""


def _numa_node(text: str) -> int | None:
    # The kernel writes -1 where the firmware does not tell it.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 4 and int(text) <= _MAX_NUMA_NODE else None

"""Names of cards and devices that stay the same over reboots and re-enumeration."""

import re

from npu_agent.core.accelerator import Accelerator

MAX_DEVICE_ID = 63
"""Characters. kubelet's API names this limit; labels, CDI names and other tools rely on it."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_PCI_ADDRESS = re.compile(r"[0-9A-Fa-f]{4,8}:[0-9A-Fa-f]{2}:[0-9A-Fa-f]{2}\.[0-7]")


def stable_id(*, uuid: str = "", serial: str = "", pci_address: str = "") -> str:
    """Return the uuid, else the serial, else the PCI address, as a device id.

    Empty and blank values fall through: early firmware leaves uuid and serial empty. Raises ValueError if all of them are.
    """
    for value in (uuid, serial, pci_address):
        if value.strip():
            return as_device_id(value.strip())
    raise ValueError("a card has no uuid, no serial and no PCI address to be named by")


def ids_of(accelerator: Accelerator) -> frozenset[str]:
    """Return every id that this card may have been known by, whatever could be read of it at that time."""
    address = as_device_id(accelerator.pci_address) if accelerator.pci_address else ""
    ids = {accelerator.id, address, as_device_id(f"{accelerator.family}-{accelerator.name}") if accelerator.name else ""}
    for text in (accelerator.uuid, accelerator.serial):
        if text.strip():
            own = as_device_id(text.strip())
            ids |= {own, as_device_id(f"{own}_{address}") if address else ""}
    return frozenset(filter(None, ids))


def is_called(accelerator: Accelerator, name: str) -> bool:
    """Whether people may mean this card by `name`: its id, name, PCI address (the domain 0000 may be left out), uuid or serial."""
    address = accelerator.pci_address
    texts = {accelerator.id, accelerator.name, address, address.removeprefix("0000:"), accelerator.uuid, accelerator.serial}
    return bool(name) and name.casefold() in {text.casefold() for text in texts}


def as_device_id(text: str) -> str:
    """Return `text` as a device id: 1 to 63 characters of letters, digits, ".", "_" and "-", with a letter or digit at both ends.

    Text that is one already stays as it is, and a PCI address gets "-" for its colons. Whatever else is `hashed`. So two texts become
    one id only where one of them is written as the id of the other, which whoever names cards has to look out for.
    """
    if _PCI_ADDRESS.fullmatch(text):
        return text.replace(":", "-")
    return text if text and len(text) <= MAX_DEVICE_ID and _safe(text) == text else hashed(text)


def hashed(text: str) -> str:
    """Return what can stay of `text` in a device id, and a hash of the whole, so that no two texts become one id."""
    import hashlib  # half a MiB of OpenSSL that most hosts never need

    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{_safe(text)[: MAX_DEVICE_ID - len(digest) - 1]}-{digest}".lstrip("-")


def _safe(text: str) -> str:
    return _UNSAFE.sub("-", text).strip("-._")

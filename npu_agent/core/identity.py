"""Names of cards and devices that stay the same over reboots and re-enumeration."""

import hashlib
import re

MAX_DEVICE_ID = 63
"""Characters. kubelet's API names this limit; labels, CDI names and other tools rely on it."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")


def stable_id(*, uuid: str = "", serial: str = "", pci_address: str = "") -> str:
    """Return the uuid, else the serial, else the PCI address, as a device id.

    Empty and blank values fall through: early firmware leaves uuid and serial empty. Raises ValueError if all of them are.
    """
    for value in (uuid, serial, pci_address):
        if value.strip():
            return as_device_id(value.strip())
    raise ValueError("a card has no uuid, no serial and no PCI address to be named by")


def as_device_id(text: str) -> str:
    """Return `text` as a device id: at most 63 characters of letters, digits, ".", "_" and "-".

    Text that is one already stays as it is, apart from the colons of a PCI address, which become "-". Whatever else cannot stay is
    replaced, and a hash of the whole text is added so that two texts never become one id.
    """
    plain = text.replace(":", "-")
    safe = _UNSAFE.sub("-", plain).strip("-._")
    if safe == plain and len(safe) <= MAX_DEVICE_ID:
        return safe
    digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{safe[: MAX_DEVICE_ID - len(digest) - 1]}-{digest}".lstrip("-")

"""kubelet's checkpoint of devices: the file in kubelet's JSON form, written whole and read back at the next start."""

import base64
import binascii
import json
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from npu_agent.api.v1beta1 import ContainerAllocateResponse
from npu_agent.simulator.pod_devices import Held, Holding

FILE_NAME = "kubelet_internal_checkpoint"


class CorruptCheckpoint(Exception):
    """The checkpoint is there and cannot be read; kubelet then starts without one."""


def write_checkpoint(path: Path, holdings: Iterable[Holding], registered: Mapping[str, Iterable[str]]) -> None:
    """Write who holds what, and the healthy devices of each resource. The file is replaced in one step."""
    entries = [
        {
            "PodUID": holding.pod_uid,
            "ContainerName": holding.container,
            "ResourceName": holding.resource,
            "DeviceIDs": {str(node): list(ids) for node, ids in holding.held.by_node.items()},
            "AllocResp": base64.b64encode(bytes(holding.held.response)).decode(),
        }
        for holding in holdings
    ]
    # Go writes an empty list that was never filled as null.
    data = {"PodDeviceEntries": entries or None, "RegisteredDevices": {name: list(ids) for name, ids in registered.items()}}
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(json.dumps({"Data": data, "Checksum": _checksum(data)}, separators=(",", ":")), encoding="utf-8")
    temporary.replace(path)


def read_checkpoint(path: Path) -> tuple[list[Holding], list[str]] | None:
    """Return who holds what and the names of the resources that had registered; None if there is no file.

    Raises CorruptCheckpoint.
    """
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise CorruptCheckpoint(f"{path}: {error}") from error
    try:
        data = document["Data"]
        if document["Checksum"] != _checksum(data):
            raise CorruptCheckpoint(f"{path}: checkpoint is corrupted")
        return [_holding(entry) for entry in data["PodDeviceEntries"] or []], list(data["RegisteredDevices"])
    except (KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise CorruptCheckpoint(f"{path}: {error!r}") from error


def _holding(entry: Mapping[str, Any]) -> Holding:
    by_node = {int(node): tuple(ids) for node, ids in entry["DeviceIDs"].items()}
    response = ContainerAllocateResponse.FromString(base64.b64decode(entry["AllocResp"]))
    return Holding(entry["PodUID"], entry["ContainerName"], entry["ResourceName"], Held(by_node, response))


def _checksum(data: object) -> int:
    # kubelet's is a hash of how Go prints its structs; whoever only reads the file cannot tell the two apart.
    return zlib.crc32(json.dumps(data, sort_keys=True).encode())

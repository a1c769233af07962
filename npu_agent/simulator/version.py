"""What differs between the kubelets that can be imitated."""

import re
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The differences of one kubelet version, each named by what holds there."""

    version: str
    wipes_sockets_only: bool
    """At its start it removes the sockets of its folder (1.33 and later), else every file except its checkpoint."""
    resets_at_deadline: bool
    """A Register call is reset when its deadline passes (1.34 and later, whose gRPC library does so), else kubelet stays silent."""
    register_governs_dial: bool
    """The deadline and the end of a Register call end its dial too (1.35 and later)."""
    clients_by_socket: bool
    """The end of a stream ends the client of that socket (1.37 and later), else the newest client of the resource."""
    knows_sidecars: bool
    """Init containers that are restarted keep their devices (1.29 and later), else they are like any init container."""
    lists_active_pods: bool
    """PodResources lists only pods that are not over (1.34 and later)."""
    offers_get: bool
    """PodResources answers Get (1.34 and later)."""
    reports_device_health: bool
    """The status of a pod shows the health of its devices (1.36 and later)."""

    @classmethod
    def of(cls, version: str) -> "Behaviour":
        """Return the behaviour of a version such as "1.36.3". Raises ValueError for what is no version that can be imitated."""
        match = re.fullmatch(r"v?1\.(\d+)(?:\.\d+)?", version)
        if match is None or int(match[1]) < 26:
            raise ValueError(f"{version!r} is not a version of kubelet that can be imitated: give one from 1.26 on, such as 1.36.3")
        minor = int(match[1])
        return cls(
            version=version.removeprefix("v"),
            wipes_sockets_only=minor >= 33,
            resets_at_deadline=minor >= 34,
            register_governs_dial=minor >= 35,
            clients_by_socket=minor >= 37,
            knows_sidecars=minor >= 29,
            lists_active_pods=minor >= 34,
            offers_get=minor >= 34,
            reports_device_health=minor >= 36,
        )

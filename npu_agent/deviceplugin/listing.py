"""What kubelet was sent of a pool: the lists of one registration after another, and what is wrong with them."""

import time
from dataclasses import replace

from npu_agent.core.pool import Pool
from npu_agent.deviceplugin.lists import DeviceList, ListTooLarge, device_list
from npu_agent.deviceplugin.reporting import Problems, Subject
from npu_agent.flow.current import Current


class Listing:
    """The list that the streams of the present registration follow. `pool` is the one that it is the list of, empty if too large."""

    def __init__(self, pool: Pool, problems: Problems) -> None:
        self.lists: Current[DeviceList | None] = Current(None)
        self.pool = pool
        self.at = 0.0
        """When the list was set, in seconds of the monotonic clock."""
        self._problems = problems

    def begin(self, pool: Pool) -> None:
        """Have the streams of a new registration begin with the list of `pool`."""
        self.lists = Current(DeviceList(b""))
        self.pool, self.at = replace(pool, devices=()), time.monotonic()
        self.send(pool)

    def send(self, pool: Pool) -> None:
        """Send the list of `pool` if it differs from the one before and streams are to have lists at all."""
        try:
            devices = device_list(pool)
        except ListTooLarge as error:
            self._problems.put(Subject.LIST, str(error))
            return
        self._problems.put(Subject.LIST, "")
        if self.lists.value is not None and devices != self.lists.value:
            self.lists.set(devices)
            self.pool, self.at = pool, time.monotonic()

    def end(self) -> None:
        """End the streams, with trailers."""
        self.lists.set(None)

"""The streams that kubelet holds on our socket, over time: since when, and how it dealt with them."""

import logging
import time
from dataclasses import dataclass

from npu_agent.deviceplugin import reconcile
from npu_agent.deviceplugin.registration import chance
from npu_agent.deviceplugin.socket import PluginSocket


@dataclass(slots=True)
class Streams:
    """Times are in seconds of the monotonic clock. `drops` counts the short-lived streams in a row."""

    number: int = 0
    up_at: float = 0.0
    ended_at: float = 0.0
    connections_ended_at: float = 0.0
    drops: int = 0

    def note(self, socket: PluginSocket | None) -> int:
        """Note what there is now; return +1 when the first stream has begun, -1 when the last one has ended, else 0."""
        before, self.number = self.number, socket.streams if socket else 0
        now = time.monotonic()
        if socket and not socket.connections:
            self.connections_ended_at = now
        if self.number > before:
            self.up_at = now
            return 1
        if before and not self.number:
            self.ended_at = now
            self.drops = self.drops + 1 if now - self.up_at < reconcile.SHORT_LIVED_S else 0
            return -1
        return 0

    @property
    def retry_s(self) -> float:
        """Seconds after the end of a short-lived stream before the next registration."""
        if not self.drops:
            return 0.0
        return reconcile.backoff(self.drops, first_s=reconcile.FIRST_RETRY_S, max_s=reconcile.MAX_DROPPED_RETRY_S, random=chance())

    def level(self, usual: int) -> int:
        """Return the level of the log for what is no news any more when it happens over and over, as a problem that is told."""
        return logging.DEBUG if self.drops >= reconcile.MANY_DROPS else usual

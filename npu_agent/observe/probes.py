"""How the agent stands, for probes: what can be read of the node state, and what has to be measured."""

import logging
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path

import anyio

from npu_agent.core.probing import Verdict, readiness, standings
from npu_agent.core.registration import Registration
from npu_agent.core.state import NodeState
from npu_agent.rpc.dialling import unanswered

ANSWER_WITHIN_S = 0.8
"""Seconds that a socket of ours has to answer. It is less than the second that kubelet gives a probe if nobody says otherwise, so that
the probe is told what it was that did not answer."""

FRESH_S = 1.0
"""Seconds for which a measurement holds: whoever asks more often, or many at once, must not have us dial more often."""

log = logging.getLogger("npu_agent")


class Probes:
    """What the probes ask of one agent.

    `state` is the newest node state; `registrations` are those of the resources that have a link, None before the node has been
    looked at once; `sockets` are the files of ours that are there now and on which we should answer.
    """

    def __init__(
        self,
        state: Callable[[], NodeState],
        registrations: Callable[[], Mapping[str, Registration] | None],
        sockets: Callable[[], Collection[Path]],
    ) -> None:
        self._state = state
        self._registrations = registrations
        self._sockets = sockets
        self._measuring = anyio.Lock()
        self._measured_at = float("-inf")
        self._live = Verdict(True)

    def ready(self) -> Verdict:
        """Return whether kubelet has all resources that have devices."""
        return readiness(self._state(), self._registrations())

    def resources(self) -> Mapping[str, Verdict]:
        """Return for each resource of the configuration whether kubelet has it."""
        return standings(self._state(), self._registrations())

    async def live(self) -> Verdict:
        """Return whether the loop turns, which whoever gets an answer in time knows, and whether our own sockets answer.

        Neither kubelet nor a card is asked: no restart of the agent would cure them. A socket whose file somebody removed is none of
        these: it is made again, and where that cannot be, a new agent could not make it either.
        """
        async with self._measuring:
            if time.monotonic() - self._measured_at >= FRESH_S:
                silent = await self._silent()
                self._measured_at = time.monotonic()
                self._tell(Verdict(not silent, tuple(f"{path} does not answer: {why}" for path, why in sorted(silent.items()))))
        return self._live

    async def _silent(self) -> Mapping[Path, str]:
        """Return those of our sockets that do not answer, and why."""
        silent: dict[Path, str] = {}

        async def dial(path: Path) -> None:
            if why := await unanswered(path, within_s=ANSWER_WITHIN_S):
                silent[path] = why

        async with anyio.create_task_group() as tasks:
            for path in self._sockets():
                tasks.start_soon(dial, path)
        # One that was given up meanwhile, because another registration began, has nothing to answer.
        there = frozenset(self._sockets())
        return {path: why for path, why in silent.items() if path in there}

    def _tell(self, verdict: Verdict) -> None:
        """Log a change: kubelet tells people that a probe failed, and not what the answer was."""
        if verdict.passed and not self._live.passed:
            log.info("our own sockets answer again", extra={"event": "agent_live", "fields": {}})
        elif verdict != self._live and not verdict.passed:
            text = "; ".join(verdict.lines)
            log.error("a probe finds us not alive: %s", text, extra={"event": "agent_not_live", "fields": {"reason": text}})
        self._live = verdict

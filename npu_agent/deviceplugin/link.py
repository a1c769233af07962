"""The link of one resource to kubelet: sees what is, does the next step, waits for a change."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from npu_agent.core.host import Host
from npu_agent.core.pool import Pool
from npu_agent.core.registration import Registration, RegistrationState
from npu_agent.deviceplugin import folder as folders
from npu_agent.deviceplugin import reconcile
from npu_agent.deviceplugin.comparison import Ask, Comparison, Told
from npu_agent.deviceplugin.errors import (
    DevicePluginError,
    FolderUnlinked,
    KubeletDenied,
    KubeletUnreachable,
    OwnSocketBroken,
    RegistrationRefused,
)
from npu_agent.deviceplugin.listing import Listing
from npu_agent.deviceplugin.reconcile import Decision, Facts, Step
from npu_agent.deviceplugin.registration import KubeletConnection, chance
from npu_agent.deviceplugin.reporting import Event, Problems, Subject, say
from npu_agent.deviceplugin.socket import PluginSocket, is_ours
from npu_agent.deviceplugin.streams import Streams
from npu_agent.flow.current import Current

STOP_WITHIN_S = 0.3
"""Seconds that kubelet gets to close its connection when the agent ends."""


class KubeletLink:
    """Keeps one resource registered for as long as `run` runs.

    `tell` is called when something begins that somebody has to see to, when its text changes, and with an empty text when it ends.
    `ask` asks kubelet for its healthy devices, or is None where that cannot be done; one for all links is `SharedAnswer`.
    """

    def __init__(self, folder: Path, pool: Current[Pool], host: Host, *, tell: Callable[[str], None], ask: Ask | None) -> None:
        self.resource = pool.value.resource
        self.registration = Current(Registration(since=time.time()))
        self._folder = folder
        self._pool = pool
        self._host = host
        self._problems = Problems(tell)
        self._comparison = Comparison(folder, ask, is_ours=is_ours, told=self._told, changed=lambda: self._rung.set())
        self._rung = anyio.Event()
        self._socket: PluginSocket | None = None
        self._listing = Listing(pool.value, self._problems)
        self._pre_start = False
        self._attempted: tuple[int, int, int] | None = None
        self._attempted_at = 0.0
        self._accepted = False
        self._streams = Streams()
        self._failures = 0
        """Registrations in a row that came to no stream."""
        self._retry_at = 0.0
        self._restores = 0
        """Times in a row that our socket was made again, or was to be."""
        self._restore_at = 0.0
        self._heals = 0
        self._healed_at = 0.0
        self._said = ""

    @property
    def own_socket(self) -> Path | None:
        """The file of our socket, None where there is none now or somebody removed it."""
        return self._socket.path if self._socket is not None and self._socket.is_there() else None

    def ring(self) -> None:
        """Have the link look again: something in kubelet's folder may have changed."""
        self._comparison.look()
        self._rung.set()

    async def run(self) -> None:
        """Register, and again whenever kubelet needs it, until cancelled. Raises FolderUnlinked.

        When it ends, kubelet is told by the end of the stream, and our socket is removed. It can be run again then.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._encode_lists)
                tasks.start_soon(self._comparison.run)
                await self._reconcile()
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._let_go(within_s=STOP_WITHIN_S)
            self._comparison.close()
            self._attempted = None
            for subject in Subject:
                self._problems.put(subject, "")
            self._report(state=RegistrationState.STOPPED, reason="it is not offered any more")
        raise FolderUnlinked(
            f"{self._folder} was deleted and what is mounted here is the deleted folder, so a new kubelet cannot be seen;"
            " restart this container to mount the new one"
        )

    async def _encode_lists(self) -> None:
        async for _ in self._pool.follow():
            await self._comparison.settled()
            self._listing.send(self._pool.value)
            self._rung.set()  # what is offered may have changed too

    def _told(self) -> Told | None:
        """Return what kubelet has of us if its stream is up."""
        if not self._streams.number or self._listing.lists.value is None:
            return None
        return Told(self.registration.value.registrations, self._listing.pool, max(self._streams.up_at, self._listing.at))

    async def _reconcile(self) -> None:
        """Do step after step until nothing can be done from here any more."""
        while True:
            self._rung = anyio.Event()
            decision = reconcile.decide(self._look())
            self._tell(decision)
            if decision.step is Step.EXIT:
                return
            if decision.step is Step.REGISTER:
                await self._register(decision)
            elif decision.step is Step.RESTORE_SOCKET:
                await self._restore()
            else:
                with anyio.move_on_after(decision.wait_s if decision.wait_s is not None else float("inf")):
                    await self._rung.wait()

    def _look(self) -> Facts:
        seen = folders.look(self._folder)
        if self._comparison.agreed:
            self._heals = 0
        return Facts(
            now=time.monotonic(),
            folder=seen.folder,
            kubelet=seen.kubelet,
            obstacle=seen.obstacle,
            attempted=self._attempted,
            attempted_at=self._attempted_at,
            accepted=self._accepted,
            retry_at=self._retry_at,
            streams=self._socket.streams if self._socket else 0,
            streams_seen=self._socket.streams_seen if self._socket else 0,
            stream_up_at=self._streams.up_at,
            stream_ended_at=self._streams.ended_at,
            drops=self._streams.drops,
            connections=self._socket.connections if self._socket else 0,
            connections_ended_at=self._streams.connections_ended_at,
            own_socket_there=self._socket is None or self._socket.is_there(),
            restore_at=self._restore_at,
            outdated=self._pre_start != self._pool.value.pre_start,
            lost=self._comparison.lost,
            stranger=self._comparison.stranger,
            heals=self._heals,
            healed_at=self._healed_at,
            path=str(self._folder),
        )

    def _tell(self, decision: Decision) -> None:
        if decision.problem:
            self._problems.put(Subject.KUBELET, decision.reason)
        elif decision.registered or (decision.step is Step.WAIT and decision.wait_s is None):
            self._problems.put(Subject.KUBELET, "")
        if decision.registered:
            self._report(state=RegistrationState.REGISTERED, reason=decision.reason)
        elif decision.step is Step.WAIT and decision.reason:
            if decision.wait_s is None and not decision.problem:
                self._waiting(decision.reason)
            self._report(state=RegistrationState.WAITING, reason=decision.reason)

    def _waiting(self, reason: str) -> None:
        """Say once what is waited for that is nobody's failure."""
        if reason != self._said:
            self._said = reason
            say(logging.INFO, Event.WAITING, f"waiting: {reason}", resource=self.resource, reason=reason)

    async def _register(self, decision: Decision) -> None:
        """Register anew on a new socket. What went before is ended first, and kubelet gets the time to notice."""
        if decision.heals:
            say(logging.WARNING, Event.REGISTRATION_LOST, f"{decision.reason}; registering again", resource=self.resource)
            self._heals, self._healed_at = self._heals + 1, time.monotonic()
        identity = folders.look(self._folder).kubelet
        if identity != self._attempted:
            self._failures = 0
        await self._let_go(within_s=reconcile.NOTICE_LOST_S if decision.heals else reconcile.NOTICE_S)
        self._attempted, self._attempted_at, self._accepted = identity, time.monotonic(), False
        try:
            async with KubeletConnection(self._folder / folders.KUBELET_SOCKET) as connection:
                self._pre_start = self._pool.value.pre_start
                self._listing.begin(self._pool.value)
                self._comparison.registering()
                self._socket = PluginSocket(self._folder, self._pool, self._listing.lists, self._host, self._changed)
                await self._socket.start()
                self._attempted_at = time.monotonic()
                endpoint = self._socket.path.name
                self._report(state=RegistrationState.REGISTERING, reason=decision.reason, endpoint=endpoint)
                await self._call_register(connection, endpoint)
        except KubeletUnreachable as error:
            # Nobody's failure: a kubelet that is down leaves its socket behind.
            self._waiting(str(error))
            self._problems.put(Subject.KUBELET, "")
            self._failed(error, first_s=reconcile.UNREACHABLE_FIRST_RETRY_S, max_s=reconcile.UNREACHABLE_MAX_RETRY_S)
        except (RegistrationRefused, OwnSocketBroken, KubeletDenied) as error:
            if self._socket is not None and self._socket.streams:  # it is what counts, so nobody has to do anything
                text = f"kubelet serves us, though it answered: {self._nameless(error)}"
                say(logging.WARNING, Event.REGISTERED, text, resource=self.resource, endpoint=self._socket.path.name)
            else:
                self._problems.put(Subject.KUBELET, f"not registered with kubelet: {self._nameless(error)}")
            self._failed(error, first_s=reconcile.FIRST_RETRY_S, max_s=reconcile.MAX_RETRY_S)
        else:
            self._accepted = True
            self._report(registrations=self.registration.value.registrations + 1)
            devices = len(self._pool.value.devices)
            text = f"registered with kubelet as {endpoint} ({devices} devices)"
            say(self._streams.level(logging.INFO), Event.REGISTERED, text, resource=self.resource, endpoint=endpoint, devices=devices)

    async def _call_register(self, connection: KubeletConnection, endpoint: str) -> None:
        """Register, and see to what can happen while kubelet takes its time. Raises KubeletUnreachable and RegistrationRefused."""
        refusal: Exception | None = KubeletUnreachable("kubelet was replaced by another one before it answered")
        async with anyio.create_task_group() as tasks:

            async def register() -> None:
                nonlocal refusal
                try:
                    await connection.register(self.resource, endpoint, pre_start=self._pre_start)
                    refusal = None
                except (KubeletUnreachable, RegistrationRefused) as error:
                    refusal = error  # raised in here it would come out as one of a group
                tasks.cancel_scope.cancel()

            tasks.start_soon(register)
            await self._stand_by()
            tasks.cancel_scope.cancel()
        if refusal is not None:
            raise refusal

    async def _stand_by(self) -> None:
        """Return when another kubelet has taken the place of the one that is being called: no answer of the old one matters then.

        Meanwhile our socket is made again if it is removed before kubelet has dialled it: kubelet would try for ten seconds.
        """
        while folders.look(self._folder).kubelet in (self._attempted, None):
            self._rung = anyio.Event()
            wait_s = float("inf")
            if self._socket is not None and not self._socket.is_there():
                await self._restore()
                wait_s = self._restore_at - time.monotonic()
            with anyio.move_on_after(wait_s):
                await self._rung.wait()

    def _failed(self, error: DevicePluginError, *, first_s: float, max_s: float) -> None:
        self._failures += 1
        self._retry_at = time.monotonic() + reconcile.backoff(self._failures, first_s=first_s, max_s=max_s, random=chance())
        self._report(state=RegistrationState.WAITING, reason=self._nameless(error))

    def _nameless(self, error: DevicePluginError) -> str:
        """Return the text of `error` without the name of our socket, which is another one each time and not what changed."""
        endpoint = self._socket.path.name if self._socket is not None else ""
        return str(error).replace(endpoint, "our socket") if endpoint else str(error)

    async def _restore(self) -> None:
        """Make our socket file again, more and more seldom where that does not help."""
        assert self._socket is not None
        now = time.monotonic()
        if now < self._restore_at:
            return
        # Whoever removes it over and over, or keeps us from making it, is not to be raced.
        self._restores = self._restores + 1 if now - self._restore_at < reconcile.MAX_RETRY_S else 1
        self._restore_at = now + reconcile.backoff(
            self._restores, first_s=reconcile.FIRST_RETRY_S, max_s=reconcile.MAX_RETRY_S, random=chance()
        )
        try:
            await self._socket.restore()
        except OwnSocketBroken as error:
            self._problems.put(Subject.SOCKET, self._nameless(error))
        else:
            self._problems.put(Subject.SOCKET, "")
            say(logging.WARNING, Event.SOCKET_RESTORED, "our socket was removed and is made again", resource=self.resource)

    async def _let_go(self, *, within_s: float) -> None:
        """End the streams in order and let kubelet close their connections: an old stream must not end after a new registration."""
        socket, self._socket = self._socket, None
        self._streams.number = 0
        self._listing.end()
        self._problems.put(Subject.SOCKET, "")
        if socket is not None:
            await socket.stop(within_s=within_s if socket.streams_seen else 0.0)

    def _changed(self) -> None:
        """Note the streams of the present socket as they come and go."""
        change = self._streams.note(self._socket)
        if change > 0:
            self._failures = 0
            self._said = ""
        elif change < 0:
            self._retry_at = max(self._retry_at, time.monotonic() + self._streams.retry_s)
            say(self._streams.level(logging.WARNING), Event.STREAM_ENDED, "kubelet ended its stream", resource=self.resource)
        self._rung.set()

    def _report(self, **changes: Any) -> None:
        """Publish how we stand. `since` is the time of the last change of the state."""
        old = self.registration.value
        if changes.get("state", old.state) != old.state:
            changes["since"] = time.time()
        self.registration.set(replace(old, **changes))

"""The link of one resource to kubelet: sees what is, does the next step, waits for a change."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio

from npu_agent.core.pool import Pool
from npu_agent.core.registration import Registration, RegistrationState
from npu_agent.deviceplugin import reconcile
from npu_agent.deviceplugin.comparison import Ask, Comparison, Told, Verdict
from npu_agent.deviceplugin.errors import FolderUnlinked, KubeletDenied, KubeletUnreachable, OwnSocketBroken, RegistrationRefused
from npu_agent.deviceplugin.folder import identity, look_at_folder
from npu_agent.deviceplugin.lists import DeviceList, ListTooLarge, device_list
from npu_agent.deviceplugin.reconcile import Decision, Facts, Step
from npu_agent.deviceplugin.registration import KubeletConnection, chance
from npu_agent.deviceplugin.service import Host
from npu_agent.deviceplugin.socket import PluginSocket
from npu_agent.deviceplugin.telling import Telling
from npu_agent.flow.current import Current

STOP_WITHIN_S = 0.3
"""Seconds that kubelet gets to close its connection when the agent ends."""


class KubeletLink:
    """Keeps one resource registered for as long as `run` runs."""

    def __init__(
        self,
        folder: Path,
        pool: Current[Pool],
        host: Host,
        *,
        tell: Callable[[str], None] = lambda text: None,
        ask: Ask | None = None,
    ) -> None:
        """`tell` takes what is wrong with the resource, an empty text once nothing is; `ask` what kubelet has, for `comparison`."""
        self.resource = pool.value.resource
        self.registration = Current(Registration(since=time.time()))
        self._folder = folder
        self._pool = pool
        self._host = host
        self._rung = anyio.Event()
        self._socket: PluginSocket | None = None
        self._lists: Current[DeviceList | None] = Current(None)
        self._attempted: tuple[int, int, int] | None = None
        self._attempted_at = 0.0
        self._accepted = False
        self._stream_up_at = 0.0
        self._stream_ended_at = 0.0
        self._connections_ended_at = 0.0
        self._streams = 0
        self._failures = 0
        """Registrations in a row that came to no stream."""
        self._drops = 0
        """Streams in a row that were short-lived."""
        self._retry_at = 0.0
        self._lost = False
        self._listed_at = 0.0
        self._waits_for = ""
        self._say = Telling(self.resource, tell)
        self._comparison = Comparison(self.resource, folder, ask, self._told, self._compared) if ask else None

    def ring(self) -> None:
        """Have the link look again: something in kubelet's folder may have changed."""
        self._rung.set()
        if self._comparison is not None:
            self._comparison.ring()

    async def run(self) -> None:
        """Register, and again whenever kubelet needs it, until cancelled. Raises FolderUnlinked.

        When it ends, kubelet is told by the end of the stream, and our socket is removed.
        """
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._encode_lists)
                if self._comparison is not None:
                    tasks.start_soon(self._comparison.run)
                await self._reconcile()
        finally:
            with anyio.CancelScope(shield=True):
                await self._let_go(within_s=STOP_WITHIN_S)
            self._report(state=RegistrationState.STOPPED, reason="the agent ends")
            self._say.end()

    async def _encode_lists(self) -> None:
        async for pool in self._pool.follow():
            try:
                # The first value is set by the step that registers, and None ends streams that are old.
                if self._lists.value is not None:
                    self._lists.set(device_list(pool))
                    self._listed_at = time.monotonic()
                self._say.problem("list", "")
            except ListTooLarge as error:
                self._say.problem("list", str(error))

    async def _reconcile(self) -> None:
        while True:
            self._rung = anyio.Event()
            decision = reconcile.decide(self._look())
            self._show(decision)
            if decision.step is Step.EXIT:
                raise FolderUnlinked(
                    f"{self._folder} was deleted and what is mounted here is the deleted folder, so a new kubelet cannot be seen;"
                    " restart this container to mount the new one"
                )
            if decision.step is Step.REGISTER:
                await self._register(decision)
            elif decision.step is Step.RESTORE_SOCKET:
                await self._restore()
            else:
                with anyio.move_on_after(decision.wait_s if decision.wait_s is not None else float("inf")):
                    await self._rung.wait()

    def _look(self) -> Facts:
        folder, trouble = look_at_folder(self._folder)
        return Facts(
            now=time.monotonic(),
            folder=folder,
            trouble=trouble,
            lost=self._lost,
            kubelet=identity(self._folder / "kubelet.sock"),
            attempted=self._attempted,
            attempted_at=self._attempted_at,
            accepted=self._accepted,
            retry_at=self._retry_at,
            streams=self._socket.streams if self._socket else 0,
            streams_seen=self._socket.streams_seen if self._socket else 0,
            connections=self._socket.connections if self._socket else 0,
            stream_ended_at=self._stream_ended_at,
            connections_ended_at=self._connections_ended_at,
            own_socket_there=self._socket is None or self._socket.is_there(),
        )

    def _show(self, decision: Decision) -> None:
        self._say.problem("folder", decision.reason if decision.is_problem else "")
        if decision.registered:
            if decision.reason and decision.reason != self.registration.value.reason:
                self._say.fact(logging.WARNING, "resource_registered", decision.reason)
            self._report(state=RegistrationState.REGISTERED, reason=decision.reason)
        elif decision.step is Step.WAIT and decision.reason:
            if decision.wait_s is None and decision.reason != self.registration.value.reason and not decision.is_problem:
                self._say.fact(logging.INFO, "resource_waiting", f"waiting: {decision.reason}")
            self._report(state=RegistrationState.WAITING, reason=decision.reason)

    async def _register(self, decision: Decision) -> None:
        """Register anew on a new socket. What went before is ended first, and kubelet gets the time to notice."""
        kubelet = self._folder / "kubelet.sock"
        now = identity(kubelet)
        if now != self._attempted:
            self._failures = 0
        await self._let_go(within_s=reconcile.NOTICE_S)
        self._attempted, self._attempted_at, self._accepted, self._lost = now, time.monotonic(), False, False
        try:
            async with KubeletConnection(kubelet) as connection:
                self._lists = Current(self._first_list())
                self._socket = PluginSocket(self._folder, self._pool, self._lists, self._host, self._changed)
                if self._comparison is not None:
                    self._comparison.made(self._socket.path.name)
                await self._socket.start()
                self._attempted_at = self._listed_at = time.monotonic()
                endpoint = self._socket.path.name
                self._report(state=RegistrationState.REGISTERING, reason=decision.reason, endpoint=endpoint)
                await self._call_register(connection, endpoint)
        except KubeletUnreachable as error:
            # Nobody's failure: a kubelet that is down leaves its socket behind.
            self._failed(str(error), first_s=reconcile.UNREACHABLE_FIRST_RETRY_S, max_s=reconcile.UNREACHABLE_MAX_RETRY_S)
        except (RegistrationRefused, OwnSocketBroken, KubeletDenied) as error:
            self._failed(str(error), first_s=reconcile.FIRST_RETRY_S, max_s=reconcile.MAX_RETRY_S, is_problem=True)
        else:
            self._accepted = True
            self._say.problem("register", "")
            self._report(registrations=self.registration.value.registrations + 1)
            self._say.fact(
                logging.INFO,
                "resource_registered",
                f"registered with kubelet as {endpoint} ({len(self._pool.value.devices)} devices)",
                endpoint=endpoint,
                devices=len(self._pool.value.devices),
            )

    async def _call_register(self, connection: KubeletConnection, endpoint: str) -> None:
        """Register, and see to what can happen while kubelet takes its time. Raises KubeletUnreachable and RegistrationRefused."""
        refusal: Exception | None = KubeletUnreachable("kubelet was replaced by another one before it answered")
        async with anyio.create_task_group() as tasks:

            async def register() -> None:
                nonlocal refusal
                try:
                    await connection.register(self.resource, endpoint, pre_start=self._pool.value.pre_start)
                    refusal = None
                except (KubeletUnreachable, KubeletDenied, RegistrationRefused) as error:
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
        while identity(self._folder / "kubelet.sock") in (self._attempted, None):
            self._rung = anyio.Event()
            if self._socket is not None and not self._socket.is_there():
                await self._restore()
            await self._rung.wait()

    def _failed(self, reason: str, *, first_s: float, max_s: float, is_problem: bool = False) -> None:
        # The name of our socket is another one each time, and is not what changed.
        reason = reason.replace(self.registration.value.endpoint, "our socket") if self.registration.value.endpoint else reason
        self._failures += 1
        self._retry_at = time.monotonic() + reconcile.backoff(self._failures, first_s=first_s, max_s=max_s, random=chance())
        if is_problem:
            self._say.problem("register", f"not registered with kubelet: {reason}")
        elif reason != self._waits_for:
            self._say.fact(logging.INFO, "resource_waiting", f"not registered with kubelet: {reason}")
        self._waits_for = reason
        self._report(state=RegistrationState.WAITING, reason=reason)

    def _first_list(self) -> DeviceList:
        try:
            return device_list(self._pool.value)
        except ListTooLarge as error:
            self._say.problem("list", str(error))
            return DeviceList(b"")

    async def _restore(self) -> None:
        assert self._socket is not None
        try:
            await self._socket.restore()
        except OwnSocketBroken as error:
            self._say.problem("socket", str(error))
            await anyio.sleep(reconcile.FIRST_RETRY_S)
        else:
            self._say.problem("socket", "")
            self._say.fact(logging.WARNING, "resource_socket_restored", f"our socket {self._socket.path} was removed and is made again")

    async def _let_go(self, *, within_s: float) -> None:
        """End the streams with trailers and let kubelet close their connections: an old stream must not end after a new registration."""
        socket, self._socket = self._socket, None
        self._streams = 0
        self._lists.set(None)
        if socket is not None:
            await socket.stop(within_s=within_s if socket.streams_seen else 0.0)

    def _changed(self) -> None:
        """Note the streams of the present socket as they come and go."""
        streams = self._socket.streams if self._socket else 0
        now = time.monotonic()
        if streams > self._streams:
            self._stream_up_at = now
            self._failures = 0
            self._waits_for = ""
            self._say.problem("register", "")
        elif self._streams and not streams:
            self._stream_ended_at = now
            self._drops = self._drops + 1 if now - self._stream_up_at < reconcile.SHORT_LIVED_S else 0
            if self._drops:
                self._retry_at = now + reconcile.backoff(
                    self._drops, first_s=reconcile.FIRST_RETRY_S, max_s=reconcile.MAX_DROPPED_RETRY_S, random=chance()
                )
            self._say.fact(logging.WARNING, "resource_stream_ended", "kubelet ended its stream")
        if self._socket and not self._socket.connections:
            self._connections_ended_at = now
        self._streams = streams
        self._rung.set()

    def _told(self) -> Told | None:
        """Return what kubelet has from us while it holds our stream."""
        if self._socket is None or not self._streams or not self._accepted:
            return None
        devices = self._pool.value.devices
        healthy = frozenset(device.id for device in devices if device.health.healthy)
        since = max(self._listed_at, self._stream_up_at)
        return Told(healthy, frozenset(device.id for device in devices), self._socket.path.name, since)

    def _compared(self, verdict: Verdict, stranger: str) -> None:
        text = f"somebody else serves {self.resource} to kubelet: {stranger}; stop it, or give one of the two another resource name"
        self._say.problem("stranger", text if verdict is Verdict.STRANGER else "")
        if verdict is Verdict.LOST:
            self._say.fact(
                logging.WARNING, "resource_lost", "kubelet does not have our devices any more; another registration took ours down"
            )
            self._lost = True
            self._rung.set()

    def _report(self, **changes: Any) -> None:
        """Publish how we stand. `since` is the time of the last change of the state."""
        old = self.registration.value
        if changes.get("state", old.state) != old.state:
            changes["since"] = time.time()
        self.registration.set(replace(old, **changes))

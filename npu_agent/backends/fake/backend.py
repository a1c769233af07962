"""Cards that do not exist, for demos, tests and trying out a configuration: any number, on any topology, with faults on demand."""

import math
import os
import stat
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from npu_agent.backends.base import Backend
from npu_agent.backends.errors import BackendError, OptionError
from npu_agent.backends.fake.cards import FakeCard, described_cards, kinds_of_parts, new_card, parse_options
from npu_agent.core.accelerator import Accelerator, ContainerEdits, DeviceNode, Part, Reading
from npu_agent.flow.current import Current
from npu_agent.host.bounded import Readers, ReadHangs

_NULL = os.makedev(1, 3)
"""The device of /dev/null: safe to open, read and write, so it stands for every node of a fake card."""


@dataclass(slots=True)
class _State:
    """What has been done to a card since it was described."""

    card: FakeCard
    present: bool = True
    failure: str = ""
    slow_s: float = 0.0
    hangs_until: float = 0.0
    released: threading.Event = field(default_factory=threading.Event)

    def delay_s(self) -> float:
        return max(self.slow_s, self.hangs_until - time.monotonic())

    def release(self) -> None:
        """Let a read that hangs come back."""
        self.released.set()
        self.released = threading.Event()


class FakeBackend(Backend):
    """The backend `fake`. Commands (`npu-agent fake …`) change it while it runs; a fault is found as a real one is, by the next probe."""

    name: ClassVar[str] = "fake"

    def __init__(self, options: Mapping[str, Any], *, host_root: Path, probe_timeout_s: float = 2.0) -> None:
        super().__init__(options, host_root=host_root, probe_timeout_s=probe_timeout_s)
        parsed = parse_options(options)
        self._device_folder = parsed.device_folder
        self._container_folder = parsed.container_folder
        self._states = {card_id: _State(card) for card_id, card in described_cards(parsed).items()}
        self.partitions = kinds_of_parts(state.card for state in self._states.values())
        self._with_parts: dict[str, Accelerator] = {}
        self._commands = Current(0)
        self._readers = Readers()
        self._made: list[Path] = []

    async def __aenter__(self) -> "FakeBackend":
        try:
            for state in self._states.values():
                self._make_nodes(state.card)
        except OptionError:
            self._remove_what_was_made()
            raise
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for state in self._states.values():
            state.release()
        self._readers.close()
        self._remove_what_was_made()

    async def scan(self) -> Sequence[Accelerator]:
        return [self._accelerator(state.card) for state in self._states.values() if state.present]

    async def probe(self, accelerator: Accelerator) -> Reading:
        state = self._states.get(accelerator.id)
        if state is None or not state.present:
            return Reading(False, f"{accelerator.id} is not there any more")
        delay_s = state.delay_s()
        if delay_s > 0:
            released = state.released
            wait_s = min(delay_s, threading.TIMEOUT_MAX)
            try:
                await self._readers.read(accelerator.id, lambda: released.wait(wait_s), timeout_s=self.probe_timeout_s)
            except ReadHangs:
                # Not for how long: a reason that changes with each probe would be news each time.
                return Reading(False, f"a read has not come back for {self.probe_timeout_s:g} s")
        return Reading(not state.failure, state.failure)

    def _accelerator(self, card: FakeCard) -> Accelerator:
        """Return the card with its parts, made once."""
        made = self._with_parts.get(card.accelerator.id)
        if made is None or replace(made, parts=card.accelerator.parts) != card.accelerator:
            names = [("", "")] + [(kind, name) for kind, names in card.partitions.items() for name in names]
            parts = () if card.accelerator.unusable else tuple(Part(kind, name, self._edits(card, name)) for kind, name in names)
            made = self._with_parts[card.accelerator.id] = replace(card.accelerator, parts=parts)
        return made

    def _edits(self, card: FakeCard, part: str) -> ContainerEdits:
        # Without a folder of its own nodes, /dev/null stands for every node of every card.
        folder = self._device_folder
        return ContainerEdits(
            tuple(
                DeviceNode(f"{folder}/{node}" if folder else "/dev/null", f"{self._container_folder}/{node}", shared=not folder)
                for node in card.nodes_of(part)
            )
        )

    async def hints(self) -> AsyncIterator[None]:
        seen = self._commands.value
        async for count in self._commands.follow():
            if count != seen:
                seen = count
                yield

    async def command(self, name: str, arguments: Sequence[str]) -> str:
        """Carry out one of `COMMANDS`. Raises BackendError with what to write instead."""
        if name not in COMMANDS:
            raise BackendError(f"the fake backend has no command {name!r}; there are {', '.join(COMMANDS)}")
        command = COMMANDS[name]
        if not command.least <= len(arguments) <= command.most:
            raise BackendError(f"expected {name} {command.arguments}, got {' '.join([name, *arguments])}")
        told = command.carry_out(self, *arguments)
        self._commands.set(self._commands.value + 1)
        return told

    def fail(self, card_id: str, *reason: str) -> str:
        """The next reading says that the card is unhealthy, for REASON."""
        self._present(card_id).failure = " ".join(reason) or "failed by command"
        return f"{card_id} fails from the next probe on"

    def heal(self, card_id: str) -> str:
        """End what fail, hang, slow and unusable did."""
        state = self._present(card_id)
        state.failure, state.slow_s, state.hangs_until = "", 0.0, 0.0
        state.card = replace(state.card, accelerator=replace(state.card.accelerator, unusable=""))
        state.release()
        return f"{card_id} reads well from the next probe on"

    def hang(self, card_id: str, seconds: str = "inf") -> str:
        """Reads of the card do not come back for SECONDS, or until it is healed."""
        state = self._present(card_id)
        hang_s = _seconds(seconds)
        state.hangs_until = time.monotonic() + hang_s
        return f"reads of {card_id} hang " + ("until it is healed" if math.isinf(hang_s) else f"for {hang_s:g} s")

    def slow(self, card_id: str, seconds: str) -> str:
        """Each read of the card takes SECONDS."""
        state = self._present(card_id)
        state.slow_s = _seconds(seconds)
        return f"each read of {card_id} takes {state.slow_s:g} s"

    def unusable(self, card_id: str, *reason: str) -> str:
        """The card is seen, but containers cannot be given it, for REASON."""
        state = self._present(card_id)
        state.card = replace(state.card, accelerator=replace(state.card.accelerator, unusable=" ".join(reason) or "unusable by command"))
        return f"{card_id} cannot be given to containers any more"

    def remove(self, card_id: str) -> str:
        """The card is pulled out: it is found no more, and its device nodes go."""
        state = self._present(card_id)
        state.present = False
        state.release()
        self._remove_nodes(state.card)
        return f"{card_id} is removed"

    def add(self, card_id: str = "") -> str:
        """A removed card comes back without its faults, or a new one comes, with the next free id if none is named."""
        if not card_id:
            card_id = next(new for number in range(len(self._states) + 1) if (new := f"fake-{number}") not in self._states)
        state = self._states.get(card_id)
        if state is not None and state.present:
            raise BackendError(f"{card_id} is there already")
        try:
            card = state.card if state is not None else new_card(card_id, len(self._states))
        except ValueError as error:
            raise BackendError(f"{card_id!r} cannot be the id of a card: {error}") from None
        self._make_nodes(card)
        self._states[card_id] = _State(card)
        return f"{card_id} is added"

    def _present(self, card_id: str) -> _State:
        state = self._states.get(card_id) or next((one for one in self._states.values() if one.card.accelerator.name == card_id), None)
        if state is None or not state.present:
            present = [name for name, other in self._states.items() if other.present]
            raise BackendError(f"there is no card {card_id!r}; there " + (f"are {', '.join(present[:20])}" if present else "is none"))
        return state

    def _node_paths(self, card: FakeCard) -> list[Path]:
        folder = self.host_root / self._device_folder.lstrip("/")
        return [folder / node for node in card.nodes_of("")] if self._device_folder else []

    def _make_nodes(self, card: FakeCard) -> None:
        for path in self._node_paths(card):
            try:
                self._make_folder(path.parent)
                if not path.exists():
                    os.mknod(path, 0o666 | stat.S_IFCHR, _NULL)
                    self._made.append(path)
                    path.chmod(0o666)  # mknod obeys the umask, and pods may run as any user
                elif not path.is_char_device():
                    raise OptionError("device_folder", f"{path} is in the way: it is no device node; remove it or name another folder")
            except PermissionError as error:
                advice = "run as root (CAP_MKNOD), or leave device_folder out: then containers get /dev/null"
                raise OptionError("device_folder", f"cannot make the device node {path}: {error.strerror}; {advice}") from error
            except OSError as error:
                raise OptionError("device_folder", f"cannot make the device node {path}: {error.strerror}; name another folder") from error

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make_folder(folder.parent)
            folder.mkdir()
            self._made.append(folder)

    def _remove_nodes(self, card: FakeCard) -> None:
        for path in self._node_paths(card):
            path.unlink(missing_ok=True)

    def _remove_what_was_made(self) -> None:
        while self._made:
            path = self._made.pop()
            if not path.is_dir():
                path.unlink(missing_ok=True)
            elif not any(path.iterdir()):
                path.rmdir()


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the fake backend: what it does, how its arguments are written, and how few and how many there may be."""

    carry_out: Callable[..., str]
    arguments: str
    least: int
    most: float


COMMANDS = {
    "fail": Command(FakeBackend.fail, "ID [REASON]", 1, math.inf),
    "heal": Command(FakeBackend.heal, "ID", 1, 1),
    "remove": Command(FakeBackend.remove, "ID", 1, 1),
    "add": Command(FakeBackend.add, "[ID]", 0, 1),
    "hang": Command(FakeBackend.hang, "ID [SECONDS]", 1, 2),
    "slow": Command(FakeBackend.slow, "ID SECONDS", 2, 2),
    "unusable": Command(FakeBackend.unusable, "ID [REASON]", 1, math.inf),
}


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not seconds >= 0:
        raise BackendError(f"expected seconds, such as 0.5 or 30, got {text!r}")
    return seconds

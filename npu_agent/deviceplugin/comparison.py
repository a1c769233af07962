"""What kubelet has compared with what it was told: whether somebody else's registration took ours down.

kubelet tells nobody that another plugin took the place of a resource: our stream stays up, and is heard of no more (docs/kubelet.md,
"Strangers"). So kubelet is asked, soon after another socket has come or gone in its folder, and each minute.
"""

import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import anyio

from npu_agent.core.pool import Pool
from npu_agent.deviceplugin.lists import offered
from npu_agent.deviceplugin.neighbours import Neighbours

COMPARE_EVERY_S = 60.0

SOON_S = (0.3, 1.5, 5.0)
"""Seconds after another socket came or went at which kubelet is asked: a plugin may register, and end its stream, a moment later."""

SETTLED_S = 1.0
"""Seconds that kubelet gets to take in a list, or a registration, before what it has is compared with it."""

AGAIN_S = 0.5
"""Seconds between the two looks that must agree before anything is concluded."""

ANSWER_WITHIN_S = 5.0

FRESH_S = 0.1
"""Seconds for which an answer serves the links of other resources too."""

MOST_NAMED = 3
"""Strangers that are named; more are not worth the room."""

Allocatable = Mapping[str, frozenset[str]]
"""The healthy devices that kubelet has of each resource."""

Ask = Callable[[], Awaitable[Allocatable | None]]
"""Asks kubelet. None where it cannot be asked."""


class SharedAnswer:
    """Asks kubelet for all links of the agent: kubelet takes ten questions at once, and those of all resources have one answer."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._asking = anyio.Lock()
        self._answer: Allocatable | None = None
        self._asked_at = float("-inf")

    async def __call__(self) -> Allocatable | None:
        """Return the answer to a question that was asked no longer ago than FRESH_S."""
        async with self._asking:
            now = time.monotonic()
            if now - self._asked_at > FRESH_S:
                self._answer = await self._ask()
                self._asked_at = now
            return self._answer


@dataclass(frozen=True, slots=True)
class Told:
    """What kubelet holds of us while our stream is up: the list of `pool` since `at`, seconds of the monotonic clock."""

    registration: int
    pool: Pool
    at: float


class Comparison:
    """Compares for one resource. `told` says what kubelet was told, None while no stream is up; `changed` is called with each verdict.

    `ask` is None where kubelet is never to be asked. `lost` says that kubelet does not have what it was told; `stranger` who serves
    the resource in our place, empty if nobody stays; `agreed` that kubelet has had what it was told since the last registration.
    """

    def __init__(
        self,
        folder: Path,
        ask: Ask | None,
        *,
        is_ours: Callable[[str], bool],
        told: Callable[[], Told | None],
        changed: Callable[[], None],
    ) -> None:
        self.lost = False
        self.stranger = ""
        self.agreed = False
        self._ask = ask
        self._told = told
        self._changed = changed
        self._neighbours = Neighbours(folder, is_ours, self._neighbours_changed)
        self._due: list[float] = []
        self._woken = anyio.Event()
        self._registrations = 0
        self._doubtful = False
        """One who came after us has gone, and kubelet has not been asked since."""
        self._free = anyio.Event()

    def look(self) -> None:
        """See who has come or gone in kubelet's folder."""
        self._neighbours.look()

    def registering(self) -> None:
        """Begin afresh: a registration of ours is about to be made, and those who are there came before it."""
        self._registrations += 1
        self._neighbours.settle()
        self.agreed = self._doubtful = False
        self._conclude(lost=False)
        self._compare_after(SOON_S[1:])

    def close(self) -> None:
        """Let go of what is open."""
        self._neighbours.close()

    async def settled(self) -> None:
        """Return when a list may be sent.

        kubelet up to 1.36 takes the list of a stream whose registration another one has ended, and shows devices that no plugin
        serves. So no list is sent while kubelet is about to be asked whether it is so, nor while a stranger serves the resource.
        """
        while self.lost or self._doubtful:
            await self._free.wait()

    async def run(self) -> None:
        """Compare whenever it is due, until cancelled."""
        while True:
            due = self._due[0] if self._due else time.monotonic() + COMPARE_EVERY_S
            self._woken = anyio.Event()
            with anyio.move_on_after(max(0.0, due - time.monotonic())):
                await self._woken.wait()
                continue  # it may be due at another time now
            self._due = self._due[1:]
            await self._compare()

    async def _compare(self) -> None:
        registrations = self._registrations
        has = await self._unlike()
        living = await self._neighbours.living()
        if registrations != self._registrations:
            return
        left = self._neighbours.left
        if has is not None and not has.differs and not self._due:
            # Whoever left has had the time to end his stream.
            self._neighbours.left = False
        self._doubtful = False
        self.agreed = self.agreed or (has is not None and not has.differs)
        lost = self.lost if has is None else has.differs
        serves = bool(self.stranger) if has is None else has.any
        # Where nobody has devices there is nobody to fight. Where one has gone, what kubelet has may be what he left behind.
        self._conclude(lost=lost, stranger=", ".join(living[:MOST_NAMED]) if lost and serves and not left else "")

    async def _unlike(self) -> "_Has | None":
        """Return what kubelet has beside what it was told, where two looks agree; None where nothing can be concluded now."""
        told = self._told()
        if told is None or self._ask is None:
            return None
        await anyio.sleep(max(0.0, told.at + SETTLED_S - time.monotonic()))
        wanted = offered(told.pool)
        seen = await self._seen()
        if seen == wanted and (wanted or not self._neighbours.left):
            return _Has(differs=False, any=bool(seen))
        if not self.lost:
            await anyio.sleep(AGAIN_S)
        again = await self._seen()
        if again is None or again != seen or told != self._told():
            return None
        # Where no device is healthy kubelet looks the same with us and without us, and registering again costs nothing.
        return _Has(differs=seen != wanted or not wanted, any=bool(seen))

    async def _seen(self) -> frozenset[str] | None:
        told = self._told()
        if told is None or self._ask is None:
            return None
        with anyio.move_on_after(ANSWER_WITHIN_S):
            has = await self._ask()
            return None if has is None else has.get(told.pool.resource, frozenset())
        return None

    def _conclude(self, *, lost: bool, stranger: str = "") -> None:
        has_changed = (lost, stranger) != (self.lost, self.stranger)
        self.lost, self.stranger = lost, stranger
        free, self._free = self._free, anyio.Event()
        free.set()
        if has_changed:
            self._changed()

    def _neighbours_changed(self) -> None:
        self._doubtful = self._doubtful or self._neighbours.left
        self._compare_after(SOON_S)

    def _compare_after(self, seconds: tuple[float, ...]) -> None:
        now = time.monotonic()
        # One that comes and goes without end must not put it off for ever.
        first = min([now + seconds[0], *self._due[:1]])
        self._due = [first, *(now + after_s for after_s in seconds[1:])]
        self._woken.set()


@dataclass(frozen=True, slots=True)
class _Has:
    """Whether kubelet has other devices than it was told, and whether it has any."""

    differs: bool
    any: bool

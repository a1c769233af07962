"""Keeping the cluster told: an output follows the node state, tries again while it fails, and looks again once an hour."""

import random
from collections.abc import Callable
from typing import Protocol, TypeVar

import anyio

from npu_agent.cluster import backoff
from npu_agent.cluster.errors import ApiRefused, ClusterError
from npu_agent.core.state import NodeState
from npu_agent.flow.current import Current

SETTLE_S = 0.2
"""How long a change is waited for others of the same moment: eight cards do not come in one scan."""

BETWEEN_S = 1.0
"""Between two writes, whatever cards do."""

EMPTY_S = 5.0
"""How long a node without a card is waited for one before its labels go: what was found before a restart may just be late."""

REFUSED = (400, 403, 405, 415, 422)
"""Answers that come again until an administrator has done something. 401 is none of them: kubelet may be about to bring another token."""

W = TypeVar("W")


class Output(Protocol[W]):
    """One way to tell the cluster of the node. `source` is whose problems it has; it looks again after `look_again_s`."""

    source: str
    look_again_s: float

    def wanted(self, state: NodeState) -> W:
        """Return what is to be told of `state`; equal values are told once."""

    async def bring(self, wanted: W) -> str:
        """Have it told, and return what cannot be, empty if all can. Raises errors.ClusterError."""


async def keep(
    state: Current[NodeState],
    output: Output[W],
    tell: Callable[[str, str], None],
    *,
    chance: backoff.Random = random.random,
    empty_s: float = EMPTY_S,
) -> None:
    """Tell the cluster of `state` by `output` for as long as it runs; `tell` hears of what cannot be told, and when it can again."""
    with anyio.move_on_after(empty_s):
        while not state.value.inventory:
            await state.changed()
    failures = 0
    while True:
        wanted = output.wanted(state.value)
        try:
            tell(output.source, await output.bring(wanted))
        except ClusterError as error:
            failures += 1
            tell(output.source, str(error))
            await anyio.sleep(_again_s(error, failures, chance))
            continue
        failures = 0
        await anyio.sleep(BETWEEN_S)
        await _changed(state, output, wanted, backoff.look_again_s(chance, output.look_again_s))


def _again_s(error: ClusterError, failures: int, chance: backoff.Random) -> float:
    if isinstance(error, ApiRefused):
        return backoff.delay_s(failures, chance, refused=error.status in REFUSED, retry_after_s=error.retry_after_s)
    return backoff.delay_s(failures, chance)


async def _changed(state: Current[NodeState], output: Output[W], told: W, within_s: float) -> None:
    """Return when something else than `told` is to be told, or after `within_s`."""
    with anyio.move_on_after(within_s):
        seen: object = None
        while True:
            inventory = state.value.inventory
            if inventory is not seen and output.wanted(state.value) != told:
                await anyio.sleep(SETTLE_S)
                return
            seen = inventory
            await state.changed()

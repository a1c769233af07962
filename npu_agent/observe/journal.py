"""The log of what happens on the node, written from the changes of the node state, and from nothing else."""

import logging
from collections.abc import Mapping

import anyio

from npu_agent.core.changes import Change, Event, Level, changes
from npu_agent.core.state import NodeState
from npu_agent.flow.current import Current

REMINDER_S = 3600.0
"""Seconds after which a problem that lasts is told again."""

log = logging.getLogger("npu_agent")

_LEVELS: Mapping[Level, int] = {Level.INFO: logging.INFO, Level.WARNING: logging.WARNING, Level.ERROR: logging.ERROR}


async def keep_journal(state: Current[NodeState]) -> None:
    """Write what happens for as long as it runs; problems that last are written again each hour."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_remind, state)
        before = NodeState()
        async for after in state.follow():
            for change in changes(before, after):
                write(change)
            before = after


def write(change: Change) -> None:
    """Write one fact. Its event and fields are those of the JSON form."""
    log.log(_LEVELS[change.level], "%s", change.text, extra={"event": change.event.value, "fields": dict(change.fields)})


async def _remind(state: Current[NodeState]) -> None:
    while True:
        await anyio.sleep(REMINDER_S)
        for source, problem in sorted(state.value.problems.items()):
            write(Change(Event.PROBLEM_LASTS, Level.ERROR, f"{source}: still: {problem.text}", {"source": source}))

"""One look at the host without a running agent, answered in the form in which an agent answers."""

from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import npu_agent
from npu_agent.api.npu_agent.v1 import Status
from npu_agent.backends.base import Backend
from npu_agent.config.configuration import Configuration
from npu_agent.control.status import Holders, Knowledge, status_of
from npu_agent.core.inventory import Inventory
from npu_agent.node.making import make_backends
from npu_agent.node.monitor import Monitor
from npu_agent.observe.podresources import HoldersUnknown, list_holders


async def scan(configuration: Configuration, *, host_root: Path, pod_resources: Path) -> Status:
    """Return what an agent with `configuration` would find on this host now, and who holds it by kubelet's word.

    Raises config.ConfigurationError.
    """
    async with AsyncExitStack() as stack:
        backends = make_backends(configuration, host_root)
        for backend in backends.values():
            await stack.enter_async_context(backend)
        monitor = Monitor(backends, configuration, _nobody)
        await monitor.look()
        holders: Holders = {}
        problem = ""
        try:
            holders = await list_holders(pod_resources)
        except HoldersUnknown as error:
            problem = str(error)
        inventory = monitor.inventory.value
        return status_of(
            Knowledge(
                version=npu_agent.__version__,
                inventory=inventory,
                pools={name: pool.value for name, pool in monitor.pools.items()},
                device_nodes=device_nodes(backends, inventory, host_root),
                excluded=excluded(configuration, inventory),
                holders=holders,
                holders_problem=problem,
                problems=list(monitor.problems.value.values()),
            )
        )


def device_nodes(backends: Mapping[str, Backend], inventory: Inventory, host_root: Path) -> dict[str, Sequence[str]]:
    """Return the host paths of the device nodes that containers get with each accelerator, by its id.

    Optional ones that the host does not have are left out, as they are for containers.
    """
    nodes: dict[str, Sequence[str]] = {}
    for id, tracked in inventory.items():
        if not tracked.accelerator.unusable:
            edits = backends[tracked.accelerator.backend].container_edits(tracked.accelerator)
            present = [node.host_path for node in edits.device_nodes if node.required or (host_root / node.host_path.lstrip("/")).exists()]
            nodes[id] = list(dict.fromkeys(present))
    return nodes


def excluded(configuration: Configuration, inventory: Inventory) -> frozenset[str]:
    """Return the ids of the accelerators that the configuration leaves out."""
    exclude = configuration.exclude
    return frozenset(id for id, tracked in inventory.items() if exclude is not None and exclude.matches(tracked.accelerator))


async def _nobody() -> frozenset[tuple[str, str]]:
    return frozenset()

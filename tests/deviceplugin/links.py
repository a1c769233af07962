"""A link to a simulated kubelet for tests: one pool of two devices, and what to wait for."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import anyio

from npu_agent.core.health import Health
from npu_agent.core.pool import Device, Pool
from npu_agent.core.registration import Registration
from npu_agent.deviceplugin.comparison import Ask
from npu_agent.deviceplugin.link import KubeletLink
from npu_agent.flow.current import Current
from npu_agent.host.watching import watch_folder
from npu_agent.simulator.devices import Quantity
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.deviceplugin.served import Host

NPU = "furiosa.ai/npu"
WELL = Health(True, "", 0.0)
POOL = Pool(NPU, (Device("a", "a", WELL), Device("b", "b", WELL)))
ALL = Quantity(2, 2)
"""What kubelet has of `POOL`: capacity and allocatable."""

Told = Current[tuple[str, ...]]
"""What the link has told, the newest last."""


async def until_told(told: Told, text: str) -> None:
    """Return when what is told last has `text` in it, or is empty."""
    with anyio.fail_after(5):
        async for texts in told.follow():
            if texts and (text in texts[-1] if text else not texts[-1]):
                return


@asynccontextmanager
async def linking(
    folder: Path, pool: Current[Pool] | None = None, *, told: Told | None = None, ask: Ask | None = None
) -> AsyncIterator[KubeletLink]:
    """Yield a link that runs with the folder `folder` of a kubelet."""
    told = Told(()) if told is None else told
    link = KubeletLink(folder, pool or Current(POOL), Host(), tell=lambda text: told.set((*told.value, text)), ask=ask)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(link.run)
        tasks.start_soon(watch_folder, folder, link.ring, lambda _: None)
        yield link
        tasks.cancel_scope.cancel()


async def until(link: KubeletLink, holds: Callable[[Registration], bool]) -> Registration:
    """Return the registration of `link` once it `holds`."""
    with anyio.fail_after(5):
        async for registration in link.registration.follow():
            if holds(registration):
                return registration
    raise AssertionError


async def sees(kubelet: SimulatedKubelet, quantity: Quantity) -> None:
    """Return when `kubelet` has so many of our devices."""
    with anyio.fail_after(5):
        await kubelet.until(lambda: kubelet.quantities().get(NPU) == quantity)

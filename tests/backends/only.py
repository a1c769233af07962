from npu_agent.backends.base import Backend
from npu_agent.core.accelerator import Accelerator


async def only(backend: Backend) -> Accelerator:
    """Return the one accelerator that there is."""
    (accelerator,) = await backend.scan()
    return accelerator

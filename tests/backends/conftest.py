from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from npu_agent.backends.sysfs.backend import SysfsBackend
from tests.host_tree import HostTree


@pytest.fixture
def tree(tmp_path: Path) -> HostTree:
    """A host without cards."""
    return HostTree(tmp_path)


@pytest.fixture
async def backend(tree: HostTree) -> AsyncIterator[SysfsBackend]:
    """The backend that looks at `tree`."""
    made = SysfsBackend({}, host_root=tree.root)
    async with made:
        yield made

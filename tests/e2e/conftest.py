"""The node of the scenarios is a real one here: each test gets a machine of its own and leaves nothing of it."""

import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.api_server import ApiServer
from tests.e2e.go_programs import CannotPrepare
from tests.e2e.machine import Machine
from tests.e2e.node import RealNode
from tests.e2e.programs import prepare

_LOGS = Path(__file__).parents[2] / "build" / "e2e"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def programs() -> Path:
    try:
        return prepare()
    except CannotPrepare as problem:
        pytest.exit(f"e2e: {problem}", returncode=1)


@pytest.fixture
async def node(programs: Path, request: pytest.FixtureRequest) -> AsyncIterator[RealNode]:
    logs = _LOGS / re.sub(r"[^\w.-]+", "-", request.node.name)
    shutil.rmtree(logs, ignore_errors=True)
    api_server = ApiServer()
    try:
        async with Machine(programs, logs) as machine:
            node = RealNode(machine, api_server)
            try:
                await node.start_kubelet()
                yield node
            finally:
                for log in node.work.glob("*.log"):
                    shutil.copy(log, logs)
    finally:
        api_server.close()

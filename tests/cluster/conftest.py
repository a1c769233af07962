"""One cluster for all tests here, which run on the session's event loop because its processes belong to that loop."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from tests.cluster.agent import IMAGE, Agent
from tests.cluster.api_server import RealApiServer, api_server
from tests.cluster.cluster import Cluster
from tests.e2e.go_programs import CannotPrepare
from tests.e2e.programs import KUBELET_VERSION, prepare

# Each process of pytest-xdist has a cluster of its own.
_LOGS = Path(__file__).parents[2] / "build" / "cluster" / os.environ.get("PYTEST_XDIST_WORKER", "")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.cluster)
            if pytest_asyncio.is_async_test(item):
                item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.fixture(scope="session")
def kubernetes() -> str:
    """The release of Kubernetes, which the variable KUBERNETES names."""
    return os.environ.get("KUBERNETES") or KUBELET_VERSION


@pytest.fixture(scope="session")
def programs(kubernetes: str) -> Path:
    try:
        return prepare(kubernetes, cluster=True)
    except CannotPrepare as problem:
        pytest.exit(f"cluster: {problem}", returncode=1)


@pytest.fixture(scope="session")
def real_api(programs: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealApiServer]:
    """An API server alone, for what needs no node."""
    with api_server(programs, tmp_path_factory.mktemp("api-server")) as server:
        yield server


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def cluster(programs: Path) -> AsyncIterator[Cluster]:
    shutil.rmtree(_LOGS, ignore_errors=True)
    async with Cluster(programs, _LOGS) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def installed(cluster: Cluster) -> AsyncIterator[Agent]:
    await cluster.import_image(IMAGE)
    agent = Agent(cluster)
    await agent.install()
    yield agent
    for node in cluster.nodes:
        (node.logs / "npu-agent.log").write_text(await node.must("sh", "-c", f"cat /var/log/pods/{agent.namespace}_*/*/*.log"))


@pytest_asyncio.fixture(loop_scope="session")
async def agent(installed: Agent) -> Agent:
    """The agent, installed on every node, with every card allocatable."""
    await installed.is_up()
    return installed


@pytest_asyncio.fixture(loop_scope="session")
async def namespace(cluster: Cluster) -> AsyncIterator[str]:
    """A namespace for one test."""
    async with cluster.namespace() as namespace:
        yield namespace

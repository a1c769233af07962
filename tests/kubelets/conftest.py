"""Every test here runs on the device manager of each version of kubelet, and the end is a table of all of them.

`KUBELET_VERSIONS` names the versions, all if it is not set.
"""

import os
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest

from tests.kubelets import build
from tests.kubelets.node import KubeletNode
from tests.scenarios import pod_status, sidecars
from tests.scenarios.versions import as_numbers

_SINCE = {sidecars.__name__: "1.29", pod_status.__name__: "1.36"}
"""Scenarios of what older kubelets do not have."""

_CELL = "scenario and kubelet"
_results: dict[str, dict[str, str]] = {}
"""What became of each scenario, by version."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    too_old = set()
    for item in items:
        if not isinstance(item, pytest.Function) or not item.path.is_relative_to(Path(__file__).parent):
            continue
        item.add_marker(pytest.mark.kubelets)
        version = item.callspec.params["version"]
        assert isinstance(version, str)
        scenario = item.name.replace(f"[{version}]", "").replace(f"{version}-", "")
        item.user_properties.append((_CELL, (scenario.removeprefix("test_").replace("_", " "), version)))
        if as_numbers(version) < as_numbers(_SINCE.get(item.function.__module__, "0")):
            too_old.add(item)
    config.hook.pytest_deselected(items=list(too_old))
    items[:] = [item for item in items if item not in too_old]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "version" not in metafunc.fixturenames:
        return
    try:
        versions = build.wanted_versions(os.environ.get("KUBELET_VERSIONS", ""))
    except build.CannotPrepare as problem:
        pytest.exit(f"kubelets: {problem}", returncode=1)
    metafunc.parametrize("version", versions, scope="session")


@pytest.fixture(scope="session")
def program(version: str) -> Path:
    try:
        return build.prepare(version)
    except build.CannotPrepare as problem:
        pytest.exit(f"kubelets: {problem}", returncode=1)


@pytest.fixture
async def node(version: str, program: Path) -> AsyncIterator[KubeletNode]:
    # Short, because the paths of sockets are limited to 107 bytes, and in memory, because kubelet waits for the disk at each change.
    with tempfile.TemporaryDirectory(prefix="npu-", dir="/dev/shm") as folder:
        async with KubeletNode(version, program, Path(folder)) as node:
            yield node


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    for name, value in report.user_properties:
        if name == _CELL and (report.when == "call" or report.failed):
            scenario, version = cast("tuple[str, str]", value)
            outcomes = _results.setdefault(scenario, {})
            outcomes[version] = "FAILED" if report.failed or outcomes.get(version) == "FAILED" else "ok"


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    versions = sorted({version for outcomes in _results.values() for version in outcomes}, key=as_numbers)
    if not versions:
        return
    terminalreporter.section("kubelets")
    for scenario, outcomes in _results.items():
        row = " ".join(f"{outcomes.get(version, '-'):>7}" for version in versions)
        terminalreporter.write_line(f"{row}  {scenario}")
    terminalreporter.write_line(" ".join(f"{version:>7}" for version in versions))
    passed = (sum(outcomes.get(version) == "ok" for outcomes in _results.values()) for version in versions)
    of = (sum(version in outcomes for outcomes in _results.values()) for version in versions)
    terminalreporter.write_line(" ".join(f"{f'{good}/{all_}':>7}" for good, all_ in zip(passed, of, strict=True)) + "  passed")

"""The chart is rendered by the real helm, with no cluster."""

from pathlib import Path

import pytest

from tests.chart.rendering import Chart
from tests.e2e.go_programs import CannotPrepare
from tests.e2e.helm import helm


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.chart)


@pytest.fixture(scope="session")
def chart() -> Chart:
    try:
        return Chart(helm())
    except CannotPrepare as problem:
        pytest.exit(f"chart: {problem}", returncode=1)

"""What holds for all tests."""

import signal
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, settings

from tests.blocking import no_blocking_calls

# How long an example takes says how busy the machine is, and a busy machine is no failure.
settings.register_profile("npu-agent", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.load_profile("npu-agent")

# A shell that runs the tests in the background has them ignore SIGINT, and so would the programs that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _unblocked() -> Iterator[None]:
    """Fail a test in which code of the agent could have blocked the loop."""
    with no_blocking_calls():
        yield


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A folder whose name leaves room for the path of a Unix socket, which pytest's own may not."""
    with TemporaryDirectory(prefix="npu-") as folder:
        yield Path(folder)

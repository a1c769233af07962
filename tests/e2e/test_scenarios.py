"""The scenarios of every node, on a real one."""

from tests.scenarios.allocation import *  # noqa: F403
from tests.scenarios.restarts import *  # noqa: F403

"""The scenarios of every node, on the simulated kubelet."""

from tests.scenarios.allocation import *  # noqa: F403
from tests.scenarios.restarts import *  # noqa: F403

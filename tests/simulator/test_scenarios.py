"""The scenarios of every node, on the simulated kubelet."""

from tests.scenarios.allocation import *  # noqa: F403
from tests.scenarios.health import *  # noqa: F403
from tests.scenarios.pod_status import *  # noqa: F403
from tests.scenarios.registration import *  # noqa: F403
from tests.scenarios.restarts import *  # noqa: F403
from tests.scenarios.sidecars import *  # noqa: F403
from tests.scenarios.strangers import *  # noqa: F403
from tests.scenarios.streams import *  # noqa: F403

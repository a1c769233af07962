"""The scenarios of every node, on kubelet's own device manager."""

from tests.scenarios.allocation import *  # noqa: F403
from tests.scenarios.health import *  # noqa: F403
from tests.scenarios.plugin_allocation import *  # noqa: F403
from tests.scenarios.plugin_registration import *  # noqa: F403
from tests.scenarios.plugin_restarts import *  # noqa: F403
from tests.scenarios.pod_status import *  # noqa: F403
from tests.scenarios.registration import *  # noqa: F403
from tests.scenarios.restarts import *  # noqa: F403
from tests.scenarios.sidecars import *  # noqa: F403
from tests.scenarios.strangers import *  # noqa: F403
from tests.scenarios.streams import *  # noqa: F403

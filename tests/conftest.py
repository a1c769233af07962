"""What holds for all tests."""

import signal

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and a busy machine is no failure.
settings.register_profile("npu-agent", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("npu-agent")

# A shell that runs the tests in the background has them ignore SIGINT, and so would the programs that they start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

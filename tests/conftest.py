"""What holds for all tests."""

from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is, and a busy machine is no failure.
settings.register_profile("npu-agent", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("npu-agent")

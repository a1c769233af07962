"""`python -m npu_agent` is `npu-agent`."""

from npu_agent.cli import main

main()

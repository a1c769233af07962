"""`npu-agent`, and `python -m npu_agent`: what must be done before anything else is imported."""

import signal
import sys


def main() -> None:
    """Run the command line and end the process."""
    if sys.argv[1:2] == ["serve"]:
        # The imports take some tenths of a second. A signal that comes meanwhile would end the process with a wrong status, and process 1
        # of a container would never hear of it. So they wait in the kernel until the agent takes them (agent.serve).
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT, signal.SIGHUP})
    from npu_agent.cli import main as command_line

    command_line()


if __name__ == "__main__":
    main()

"""Processes of this machine, those of the namespaces of the tests among them."""

from pathlib import Path


async def processes_with(text: str) -> list[str]:
    """Return the command lines of the processes that have `text` in them: the keeper of a machine, and the programs in it."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:  # it has ended
            continue
        if text in line:
            found.append(line)
    return found

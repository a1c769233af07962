"""What pages of documentation quote: the commands of their consoles, their YAML, their links."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent


def commands(page: Path) -> Iterator[list[str]]:
    """Give the words of each line that begins with `$`, without its comment, and of each `…` that begins with `helm` or `npu-agent`."""
    text = page.read_text()
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for line in re.findall(r"^\$ (.*)$", block, re.MULTILINE):
            yield shlex.split(line, comments=True)
    for span in re.findall(r"`((?:helm|npu-agent|make) [^`]+)`", text):
        yield shlex.split(span)


def yaml_of(page: Path) -> list[str]:
    """Return the blocks of YAML."""
    return re.findall(r"```yaml\n(.*?)```", page.read_text(), re.DOTALL)


def links(page: Path) -> Iterator[tuple[str, str]]:
    """Give the path and the anchor, without their `#`, of each link that is not to another host."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield path, anchor


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

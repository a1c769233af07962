"""README.md: its list is what the program prints, its commands exist, and its configuration is taken."""

import re
import subprocess
from pathlib import Path

from npu_agent.config.reading import parse
from tests.host_tree import HostTree
from tests.program import PROGRAM

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "README.md").read_text()
KOREAN = (ROOT / "README.ko.md").read_text()


def test_the_list_is_what_the_program_prints(tmp_path: Path) -> None:
    machine = HostTree(tmp_path)
    machine.rngd(index=0, uuid="82540B87-1055-48C6-AAB1-C4CC84672C71", numa_node=0)
    machine.rngd(index=1, uuid="7A4F1C20-93B5-4E0D-8D57-0B6E3F1A9C55", numa_node=1, device_state="2")
    machine.warboy(index=0, uuid="AAAAAAAA-AAAA-AAAA-AAAA-AAAAAAAAAAAA", numa_node=1)
    machine.unbound(bdf="0000:51:00.0")
    options = [
        "--host-root",
        str(tmp_path),
        "--runtime-dir",
        str(tmp_path / "run"),
        "--pod-resources",
        str(tmp_path / "none"),
        "-o",
        "table",
    ]
    printed = subprocess.run([PROGRAM, "list", *options], capture_output=True, text=True, check=True).stdout
    shown = re.search(r"<!-- begin list -->\n```console\n\$ npu-agent list\n(.*?)```", PAGE, re.DOTALL)
    assert shown is not None
    assert printed == shown[1]


def test_the_configuration_is_one_that_the_agent_takes() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    assert [spec.name for spec in parse(example, "README.md").resources] == ["furiosa.ai/rngd-2core", "furiosa.ai/npu"]


def test_every_command_that_is_named_exists() -> None:
    helped = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True).stdout
    for command in set(re.findall(r"^\$ npu-agent ([a-z-]+)", PAGE + KOREAN, re.MULTILINE)):
        assert f" {command} " in helped
    targets = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for target in set(re.findall(r"make ([a-z0-9]+)", PAGE + KOREAN)):
        assert f"make {target} " in targets


def test_the_figures_are_those_that_are_measured_and_the_same_in_both_languages() -> None:
    rows = [re.findall(r"^\| `(\w+)` \| ([^|]+) \| ([^|]*) ?\|", page, re.MULTILINE) for page in (PAGE, KOREAN)]
    measured = "".join(path.read_text() for path in ROOT.glob("benchmarks/*.py"))
    assert len(rows[0]) > 5
    for name, *_ in rows[0]:
        assert f'"{name}"' in measured
    english, korean = ([[name, *re.findall(r"[0-9.]+", f"{seen} {floor}")] for name, seen, floor in page] for page in rows)
    assert english == korean


def test_every_file_that_is_named_is_there() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", PAGE + KOREAN):
        assert (ROOT / link).exists(), link


def structure(page: str) -> list[str]:
    """Return what a page is made of: headings by depth, blocks of code with what they say less its comments, list items, rows of tables."""
    parts: list[str] = []
    code: list[str] | None = None
    for line in page.splitlines():
        if line.startswith("```"):
            if code is None:
                code = []
            else:
                parts.append("\n".join([f"code {line}", *code]))
                code = None
        elif code is not None:
            code.append(re.sub(r"\s+#.*", "", line))
        elif found := re.match(r"(#+) |(\* )|(\| )|(<!-- .*)", line):
            parts.append(found[1] or found[2] or found[3] or found[4])
    return parts


def test_the_korean_page_has_every_part_of_the_english_one() -> None:
    assert structure(KOREAN) == structure(PAGE)

"""What the programs are built of is what the agent is tested with."""

import re

from container import binary

LOCKED = re.compile(r"^([a-z0-9.-]+)==(\S+)(.*?)((?: \\\n    --hash=sha256:[0-9a-f]{64})+)$", re.MULTILINE)


def locked(name: str) -> dict[str, tuple[str, str, frozenset[str]]]:
    """Return what a lock file says of each distribution: version, condition, and digests."""
    text = (binary.ROOT / "requirements" / name).read_text()
    found = {each[0]: (each[1], each[2].strip(), frozenset(each[3].replace("\\", "").split())) for each in LOCKED.findall(text)}
    assert len(found) == text.count("==") - text.count("== '"), "a line is not understood"
    return found


def test_the_programs_have_the_locked_dependencies_and_beside_them_pyinstaller_alone() -> None:
    runtime, built_with = locked("runtime.txt"), locked("binary.txt")
    assert {name: built_with.get(name) for name in runtime} == runtime, "run make lock"
    elsewhere = {name for name, (_, condition, _) in built_with.items() if "sys_platform" in condition}
    pyinstaller = {"pyinstaller", "pyinstaller-hooks-contrib", "altgraph", "packaging", "setuptools"}
    assert built_with.keys() - runtime.keys() - elsewhere == pyinstaller

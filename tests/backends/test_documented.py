"""What docs/backends.md shows is run here as it stands there."""

import re
import sys
import tomllib
import typing
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from npu_agent.backends import registry
from npu_agent.backends.errors import OptionError
from npu_agent.backends.sysfs.backend import SysfsBackend
from npu_agent.backends.sysfs.options import Options
from npu_agent.config.reading import parse
from npu_agent.core.accelerator import DeviceNode, Reading
from npu_agent.families import family
from npu_agent.node.making import make_backends
from scripts.generate_docs import fields_below
from tests.backends.only import edits
from tests.host_tree import HostTree

DOCUMENT = (Path(__file__).parents[2] / "docs/backends.md").read_text()


def block(language: str, beginning: str) -> str:
    """The one block of code of the document that begins like this."""
    (found,) = [text for text in re.findall(rf"```{language}\n(.*?)```", DOCUMENT, re.DOTALL) if text.startswith(beginning)]
    return typing.cast(str, found)


async def test_the_whole_family_finds_its_cards(tmp_path: Path) -> None:
    folder = tmp_path / "families"
    folder.mkdir()
    (folder / "gaudi2.yaml").write_text(block("yaml", "name: gaudi2"))
    text = block("yaml", "backends:\n  sysfs:\n    families_folder").replace("/etc/npu-agent/families", str(folder))
    tree = HostTree(tmp_path / "host")
    function = tree.other_function("0000:33:00.0", vendor="0x1da3", device="0x1020", driver="habanalabs")
    for attribute, content in (("status", "Operational\n"), ("fw_os_ver", "1.17.0\n"), ("module_id", "3\n")):
        (function / attribute).write_text(content)
    tree.class_entry("accel", "accel0", {}, function=function)
    tree.other_function("0000:34:00.0", vendor="0x1da3", device="0x1020", driver="")
    configuration = parse(text, "config.yaml")
    assert configuration.resources[0].name == "habana.ai/gaudi"
    async with make_backends(configuration, tree.root)["sysfs"] as backend:
        card, other = await backend.scan()
        assert (card.id, card.name, card.family, card.firmware) == ("0000-33-00.0", "accel0", "gaudi2", "1.17.0")
        assert card.attributes == (("module", "3"),)
        assert configuration.resources[0].selector.matches(card)
        assert other.unusable.startswith("no driver is bound to 0000:34:00.0; load habanalabs")
        assert edits(card).device_nodes == (
            DeviceNode("/dev/accel/accel0", "/dev/accel/accel0"),
            DeviceNode("/dev/accel/accel_controlD0", "/dev/accel/accel_controlD0", required=False),
        )
        assert (await backend.probe(card)).healthy
        (function / "status").write_text("In reset\n")
        assert "device/status reads 'In reset'" in (await backend.probe(card)).reason


async def test_the_option_for_old_drivers_turns_the_meaning(tmp_path: Path) -> None:
    tree = HostTree(tmp_path)
    tree.rngd(device_state="1")
    configuration = parse(block("yaml", "backends:\n  sysfs:\n    healthy"), "config.yaml")
    async with SysfsBackend(configuration.backends["sysfs"], host_root=tree.root) as backend:
        (card,) = await backend.scan()
        assert (await backend.probe(card)).healthy


def test_every_field_of_a_family_is_explained() -> None:
    fields = dict(fields_below(family.Family))
    for name in ("pci.vendor", "class.folder", "health[].missing", "nodes[].each", "mounts[].required", "activity[].unit"):
        assert f"| `{name}` |" in DOCUMENT
    assert [name for name, field in fields.items() if f"| `{name}` |  |" in DOCUMENT or f"| `{name}` |" not in DOCUMENT] == []


def test_every_option_is_explained() -> None:
    assert [field.name for field in msgspec.structs.fields(Options) if f"| `{field.name}` |" not in DOCUMENT] == []


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The package of the document, as pip would put it on the path."""
    site = tmp_path / "site"
    metadata = site / "acme_accelerators-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-accelerators\nVersion: 1.0\n")
    (site / "acme_accelerators.py").write_text(block("python", '"""Acme accelerators'))
    entry_points = tomllib.loads(block("toml", "[project.entry-points"))["project"]["entry-points"]
    lines = [line for group, points in entry_points.items() for line in (f"[{group}]", *(f"{name} = {at}" for name, at in points.items()))]
    (metadata / "entry_points.txt").write_text("\n".join(lines) + "\n")
    monkeypatch.syspath_prepend(site)
    yield
    sys.modules.pop("acme_accelerators", None)


@pytest.mark.usefixtures("installed")
async def test_the_whole_backend_is_found_and_works(tmp_path: Path) -> None:
    host = tmp_path / "host"
    assert "acme" in registry.available()
    async with registry.create("acme", {}, host) as backend:
        assert await backend.scan() == []
        file = host / "proc/driver/acme/cards"
        file.parent.mkdir(parents=True)
        file.write_text(block("text", "0 6a1f0c9e"))
        first, second = await backend.scan()
        assert (first.id, first.backend, first.name, first.location) == ("6a1f0c9e-acme-0", "acme", "acme0", ("numa0", "6a1f0c9e-acme-0"))
        assert await backend.probe(first) == Reading(True)
        assert await backend.probe(second) == Reading(False, "acme1 is overheated; run acme-reset on the node")
        assert [node.host_path for node in edits(second).device_nodes] == ["/dev/acme1", "/dev/acme-control"]
        file.write_text("1 77b2d3aa-acme-1 1 ready\n")
        assert await backend.probe(first) == Reading(False, "acme0 is not there any more")
        file.unlink()
        file.mkdir()
        assert "cannot be read: Is a directory" in (await backend.probe(first)).reason
    with pytest.raises(OptionError, match="speed: is not known"):
        registry.create("acme", {"speed": 1}, host)

"""Backends by name: those of this package and those of others."""

import subprocess
import sys
from pathlib import Path

import pytest

from npu_agent.backends import registry
from npu_agent.backends.errors import BackendError, OptionError


@pytest.fixture
def third_party(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A distribution of somebody else's with three entry points, of which one is a backend."""
    (tmp_path / "acme_npu.py").write_text(
        "from npu_agent.backends.fake.backend import FakeBackend\nclass Acme(FakeBackend): name = 'acme'\nnothing = 3\n"
    )
    metadata = tmp_path / "acme_npu-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-npu\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[npu_agent.backends]\nacme = acme_npu:Acme\nacme-number = acme_npu:nothing\nacme-broken = acme_missing:Acme\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def test_the_backends_of_this_package_are_there() -> None:
    assert {"fake", "sysfs"} <= set(registry.available())


@pytest.mark.usefixtures("third_party")
async def test_a_backend_of_a_third_party_is_found_by_its_entry_point() -> None:
    assert "acme" in registry.available()
    async with registry.create("acme", {"accelerators": 1}, Path("/"), probe_timeout_s=0.5) as backend:
        assert len(await backend.scan()) == 1
        assert backend.probe_timeout_s == 0.5


@pytest.mark.usefixtures("third_party")
def test_a_third_party_s_backend_that_cannot_be_loaded_is_named_with_the_cause() -> None:
    with pytest.raises(BackendError, match=r"'acme-broken' \(acme_missing:Acme\) cannot be loaded: ModuleNotFoundError"):
        registry.create("acme-broken", {}, Path("/"))
    with pytest.raises(BackendError, match=r"'acme-number' .* gives 3, which is not a Backend class"):
        registry.create("acme-number", {}, Path("/"))


def test_an_unknown_name_is_refused_with_those_there_are() -> None:
    with pytest.raises(OptionError, match=r"there is no backend 'fke'; did you mean fake\? there are .*fake.*sysfs"):
        registry.create("fke", {}, Path("/"))


def test_making_one_backend_imports_no_other() -> None:
    program = "import sys, pathlib; from npu_agent.backends import registry; registry.create('fake', {}, pathlib.Path('/'))"
    program += "; print('npu_agent.backends.sysfs.backend' in sys.modules, 'importlib.metadata' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout == "False False\n"

"""Files of the host: what is read of them, and where links lead."""

import errno
import os
from pathlib import Path
from typing import NoReturn

import pytest

from npu_agent.host.errors import SHORTAGES, ShortOfResources
from npu_agent.host.files import MAX_CHARACTERS, as_text, below_root, entries, is_there, link_name, read_text, resolve


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"1\n", "1"),
        (b"0000:00:03.0", "0000:00:03.0"),
        (b"  spaced \t\n", "spaced"),
        (b"", ""),
        (b"\n\n", ""),
        (b"0\x00", "0"),
        (b"0\n\x00", "0"),
        (b"RNGD \x00\x00 \n\x00\x00", "RNGD"),
        (b"\x000", "�0"),
        (b"0\x001", "0�1"),
        (b"a\nb", "a�b"),
        (b"\xff\xfe0", "��0"),
        ("Ärger".encode(), "Ärger"),
        (b"x" * 10_000, "x" * MAX_CHARACTERS + "…"),
    ],
)
def test_a_file_is_one_stripped_printable_text(tmp_path: Path, content: bytes, text: str) -> None:
    (tmp_path / "file").write_bytes(content)
    assert read_text(str(tmp_path / "file")) == text


@pytest.mark.parametrize("number", sorted(SHORTAGES))
def test_a_limit_of_this_process_is_no_error_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    def fails(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    for name in ("open", "scandir", "readlink", "lstat"):
        monkeypatch.setattr(os, name, fails)
    for look in (read_text, entries, link_name, is_there):
        with pytest.raises(ShortOfResources, match=r"this process|this machine"):
            look(str(tmp_path / "file"))
    with pytest.raises(ShortOfResources):
        resolve("", "/sys/bus")


def test_names_that_are_no_text_are_made_text_where_they_are_told(tmp_path: Path) -> None:
    (tmp_path / "driver").symlink_to(os.fsdecode(b"../drivers/odd\xff\xfe"))
    (tmp_path / os.fsdecode(b"odd\xff")).touch()
    assert link_name(str(tmp_path / "driver")) == "odd��"
    assert sorted(as_text(name) for name, _ in entries(str(tmp_path))) == ["driver", "odd�"]
    assert as_text("a\nb\x1b[31m") == "a�b�[31m"


def test_a_link_that_leads_nowhere_is_there(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("nowhere")
    assert is_there(str(tmp_path / "link"))
    assert not is_there(str(tmp_path / "other"))


def test_a_link_in_the_place_of_an_attribute_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "file").symlink_to(tmp_path / "secret")
    with pytest.raises(OSError) as caught:
        read_text(str(tmp_path / "file"))
    assert caught.value.errno == errno.ELOOP


def test_a_pipe_is_not_waited_for_where_no_driver_is_asked(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "file")
    assert read_text(str(tmp_path / "file"), wait=False) == ""


def test_a_folder_that_is_not_there_has_no_entries(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert entries(str(tmp_path / "nothing")) == entries(str(tmp_path / "file")) == []


def test_an_entry_that_is_made_again_is_another_one(tmp_path: Path) -> None:
    for name in ("first", "kept"):
        (tmp_path / name).symlink_to("nowhere")
    before = dict(entries(str(tmp_path)))
    (tmp_path / "held").symlink_to("nowhere")
    assert dict(entries(str(tmp_path))).items() >= before.items()


def test_the_driver_is_named_by_where_its_link_points(tmp_path: Path) -> None:
    (tmp_path / "driver").symlink_to("../../../../bus/pci/drivers/furiosa_rngd")
    assert link_name(str(tmp_path / "driver")) == "furiosa_rngd"
    assert link_name(str(tmp_path / "none")) == ""


@pytest.fixture
def prefix(tmp_path: Path) -> str:
    root = tmp_path / "root"
    (root / "sys/devices/pci0000:00/0000:27:00.0").mkdir(parents=True)
    (root / "sys/bus").mkdir()
    (tmp_path / "sys").mkdir()
    (tmp_path / "sys/outside").touch()
    return below_root(root)


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("../devices/pci0000:00/0000:27:00.0", "/sys/devices/pci0000:00/0000:27:00.0"),
        ("/sys/devices/pci0000:00", "/sys/devices/pci0000:00"),
        ("../../../../../../../sys/outside", "/sys/outside"),
        ("/etc/../../passwd", "/passwd"),
        ("nowhere", "/sys/bus/nowhere"),
        ("./././../bus/", "/sys/bus"),
    ],
)
def test_links_are_followed_as_the_host_would(prefix: str, target: str, leads_to: str) -> None:
    Path(f"{prefix}/sys/bus/link").symlink_to(target)
    assert resolve(prefix, "/sys/bus/link") == leads_to


def test_links_on_the_way_are_followed_too(prefix: str) -> None:
    Path(f"{prefix}/sys/class").symlink_to("/sys/bus")
    Path(f"{prefix}/sys/bus/link").symlink_to("../devices")
    assert resolve(prefix, "/sys/class/link/pci0000:00/0000:27:00.0") == "/sys/devices/pci0000:00/0000:27:00.0"


@pytest.mark.parametrize("target", ["link", "../bus/link", "/sys/bus/link", "link/link/link"])
def test_links_without_end_are_an_error(prefix: str, target: str) -> None:
    Path(f"{prefix}/sys/bus/link").symlink_to(target)
    with pytest.raises(OSError) as caught:
        resolve(prefix, "/sys/bus/link")
    assert caught.value.errno == errno.ELOOP


def test_the_root_of_the_host_itself_needs_no_prefix() -> None:
    assert below_root(Path("/")) == ""
    assert resolve("", "/proc/self/../sys") == "/proc/sys"

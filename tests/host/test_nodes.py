"""What may be handed to a container, by what is really at the path of a node."""

import errno
import os
import stat
from pathlib import Path
from typing import NoReturn

import pytest

from npu_agent.core.accelerator import DeviceNode
from npu_agent.host.errors import ShortOfResources
from npu_agent.host.nodes import SeenNode, look_at

PATH = "/dev/rngd/npu0mgmt"


def node(path: str = PATH, *, major: int = 0) -> DeviceNode:
    return DeviceNode(path, path, major=major)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "dev/rngd").mkdir(parents=True)
    return tmp_path


def make(root: Path, path: str = PATH, *, kind: int = stat.S_IFCHR, device: tuple[int, int] = (1, 3)) -> None:
    os.mknod(root / path.lstrip("/"), 0o600 | kind, os.makedev(*device))


def test_a_character_device_may_be_handed_out(root: Path) -> None:
    make(root, device=(235, 0))
    assert look_at(str(root), node()) == SeenNode(PATH)
    assert look_at(str(root), node(major=235)) == SeenNode(PATH)


def test_a_node_that_is_not_there_is_missing(root: Path) -> None:
    assert look_at(str(root), node()).wrong == "is not on the host"


def test_a_dangling_link_is_missing(root: Path) -> None:
    (root / "dev/rngd/npu0mgmt").symlink_to("nowhere")
    assert look_at(str(root), node()).wrong == "is not on the host"


def test_a_plain_file_is_refused_except_in_a_test_bed_that_says_so(root: Path) -> None:
    (root / "dev/rngd/npu0mgmt").touch()
    assert look_at(str(root), node()).wrong == "is a plain file and no character device"
    assert look_at(str(root), node(), allow_plain_files=True) == SeenNode(PATH)


@pytest.mark.parametrize(("kind", "said"), [(stat.S_IFBLK, "a block device"), (stat.S_IFIFO, "a pipe"), (stat.S_IFSOCK, "a socket")])
def test_what_is_no_character_device_is_refused(root: Path, kind: int, said: str) -> None:
    make(root, kind=kind, device=(8, 0))
    assert look_at(str(root), node(), allow_plain_files=True).wrong == f"is {said} and no character device"


def test_a_folder_is_refused(root: Path) -> None:
    (root / "dev/rngd/npu0mgmt").mkdir()
    assert look_at(str(root), node()).wrong == "is a folder and no character device"


def test_a_device_of_another_driver_is_refused(root: Path) -> None:
    make(root, device=(10, 7))
    assert look_at(str(root), node(major=235)).wrong == "is device 10:7, and its driver's are 235:*"


def test_null_stands_for_a_device_in_a_test_bed(root: Path) -> None:
    make(root, device=(1, 3))
    assert look_at(str(root), node(major=235)) == SeenNode(PATH)


def test_a_link_that_stays_on_the_host_is_followed_and_one_out_of_it_ends_at_its_root(root: Path) -> None:
    make(root, "/dev/real", device=(235, 0))
    (root / "dev/rngd/npu0mgmt").symlink_to("/dev/real")
    assert look_at(str(root), node()) == SeenNode("/dev/real")
    (root / "dev/rngd/npu1mgmt").symlink_to("../../../../../../../dev/real")
    assert look_at(str(root), node("/dev/rngd/npu1mgmt")) == SeenNode("/dev/real")


def test_a_folder_that_is_a_link_is_followed(root: Path) -> None:
    (root / "dev/other").mkdir()
    make(root, "/dev/other/npu0mgmt", device=(235, 0))
    (root / "dev/linked").symlink_to("other")
    assert look_at(str(root), node("/dev/linked/npu0mgmt")) == SeenNode("/dev/other/npu0mgmt")


@pytest.mark.parametrize("minor", [1, 2, 4, 11])
def test_the_machine_itself_is_never_handed_out(root: Path, minor: int) -> None:
    make(root, "/dev/mem", device=(1, minor))
    (root / "dev/rngd/npu0mgmt").symlink_to("/dev/mem")
    assert look_at(str(root), node()).wrong == f"is device 1:{minor}, which opens the machine itself (it leads to /dev/mem)"


def test_links_without_end_are_told(root: Path) -> None:
    (root / "dev/rngd/npu0mgmt").symlink_to("npu0mgmt")
    assert "cannot be looked at" in look_at(str(root), node()).wrong


def test_a_link_to_a_name_that_is_no_text_is_refused_in_words(root: Path) -> None:
    (root / "dev/rngd/npu0mgmt").symlink_to(os.fsdecode(b"/dev/odd\xff"))
    make(root, os.fsdecode(b"/dev/odd\xff"))
    assert look_at(str(root), node()) == SeenNode(PATH, "leads to /dev/odd�, which is no text")


def test_a_limit_of_this_process_is_not_told_of_the_node(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(root)

    def short(path: str) -> NoReturn:
        raise OSError(errno.ENOMEM, "Cannot allocate memory", path)

    monkeypatch.setattr(os, "lstat", short)
    with pytest.raises(ShortOfResources, match="there is no memory left"):
        look_at(str(root), node())

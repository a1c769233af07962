"""What is at the path of kubelet's folder, and what is said of it."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from npu_agent.deviceplugin.errors import KubeletDenied
from npu_agent.deviceplugin.folder import look, sockets_in
from npu_agent.deviceplugin.reconcile import Folder
from npu_agent.deviceplugin.registration import KubeletConnection

NOBODY = 65534


def bound(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    return path


def test_a_folder_is_there_with_and_without_kubelets_socket(short_dir: Path) -> None:
    assert (look(short_dir).folder, look(short_dir).kubelet, look(short_dir).obstacle) == (Folder.PRESENT, None, "")
    bound(short_dir / "kubelet.sock")
    assert look(short_dir).kubelet is not None
    assert look(short_dir / "missing").folder is Folder.MISSING


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file/below"):
        assert look(path).folder is Folder.NOT_A_FOLDER
        assert "give the folder of kubelet by --kubelet-dir" in look(path).obstacle


def test_links_without_end_are_told(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    assert look(tmp_path / "loop").folder is Folder.NOT_A_FOLDER
    assert "Too many levels of symbolic links" in look(tmp_path / "loop").obstacle


def test_a_file_in_the_place_of_kubelets_socket_is_told(tmp_path: Path) -> None:
    (tmp_path / "kubelet.sock").touch()
    assert (look(tmp_path).kubelet, look(tmp_path).obstacle) == (
        None,
        f"{tmp_path}/kubelet.sock is not a socket; remove it and restart kubelet",
    )


@pytest.fixture
def user(short_dir: Path) -> Iterator[int]:
    """A user to whom things can be denied, which root is not."""
    before = os.geteuid()
    short_dir.chmod(0o755)
    if before == 0:
        os.seteuid(NOBODY)
    yield os.geteuid()
    os.seteuid(before)


def as_root(before: int) -> None:
    if before == NOBODY:
        os.seteuid(0)


@pytest.mark.parametrize("mode", [0o700, 0o000])
def test_a_folder_that_we_may_not_look_into_is_told_with_the_user_to_whom(short_dir: Path, user: int, mode: int) -> None:
    if user != NOBODY and mode:
        return
    as_root(user)
    (short_dir / "kubelet").mkdir()
    (short_dir / "kubelet").chmod(mode)
    os.seteuid(user)
    seen = look(short_dir / "kubelet")
    assert seen.folder is Folder.DENIED
    assert seen.obstacle == (
        f"{short_dir}/kubelet/kubelet.sock cannot be reached by user {user}: Permission denied;"
        f" run the agent as root, or give user {user} the right to"
    )


async def test_a_socket_that_we_may_not_connect_to_is_not_called_a_kubelet_that_is_stopped(short_dir: Path, user: int) -> None:
    as_root(user)
    path = bound(short_dir / "kubelet.sock")
    path.chmod(0o600 if user == NOBODY else 0o000)
    os.seteuid(user)
    with pytest.raises(KubeletDenied, match=f"cannot be reached by user {user}: Permission denied; run the agent as root"):
        async with KubeletConnection(path):
            pass


def test_only_sockets_count_and_kubelets_does_not(short_dir: Path) -> None:
    for name in ("kubelet.sock", "one.sock", "two"):
        bound(short_dir / name)
    (short_dir / "file.sock").touch()
    (short_dir / "folder.sock").mkdir()
    there = sockets_in(short_dir)
    assert there is not None
    assert sorted(file.name for file in there) == ["one.sock", "two"]
    assert sockets_in(short_dir / "missing") == frozenset()

"""What is at the path of kubelet's folder, and what is said of it."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from npu_agent.deviceplugin.folder import look_at_folder
from npu_agent.deviceplugin.reconcile import Decision, Facts, Folder, Step, decide

NOBODY = 65534


def test_a_folder_is_there_with_and_without_kubelet_s_socket(tmp_path: Path) -> None:
    assert look_at_folder(tmp_path) == (Folder.PRESENT, "")
    (tmp_path / "kubelet.sock").touch()
    assert look_at_folder(tmp_path) == (Folder.PRESENT, "")
    assert look_at_folder(tmp_path / "missing") == (Folder.MISSING, "")


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder, trouble = look_at_folder(tmp_path / "file")
    assert (folder, trouble) == (Folder.UNUSABLE, f"{tmp_path}/file is no folder; remove it, or name kubelet's folder by --kubelet-dir")
    assert "Not a directory" in look_at_folder(tmp_path / "file/below")[1]


def test_links_without_end_are_told(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    folder, trouble = look_at_folder(tmp_path / "loop")
    assert folder is Folder.UNUSABLE
    assert "Too many levels of symbolic links" in trouble


@pytest.fixture
def user() -> Iterator[int]:
    """A user to whom things can be denied, which root is not."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(NOBODY)
    yield os.geteuid()
    os.seteuid(before)


def test_what_is_denied_is_told_with_the_user_to_whom(short_dir: Path, user: int) -> None:
    kubelet = short_dir / "kubelet"
    if user == NOBODY:
        os.seteuid(0)
        short_dir.chmod(0o755)
    kubelet.mkdir(mode=0o700 if user == NOBODY else 0o000)
    os.seteuid(user)
    folder, trouble = look_at_folder(kubelet)
    assert folder is Folder.UNUSABLE
    assert trouble == f"{kubelet}/kubelet.sock may not be looked at by user {user}; run the agent as the user of kubelet (root)"


@pytest.mark.parametrize("streams", [0, 1])
def test_trouble_with_the_folder_is_a_problem_only_while_kubelet_does_not_serve_us(streams: int) -> None:
    decision = decide(Facts(now=1.0, folder=Folder.UNUSABLE, kubelet=None, trouble="may not be looked at", streams=streams))
    if streams:
        assert (decision.step, decision.registered, decision.is_problem) == (Step.WAIT, True, False)
    else:
        assert decision == Decision(Step.WAIT, "may not be looked at", is_problem=True)


def test_a_registration_that_was_taken_down_is_made_again() -> None:
    kubelet = (1, 2, 3)
    seen = Facts(now=1.0, folder=Folder.PRESENT, kubelet=kubelet, attempted=kubelet, accepted=True, streams=1, lost=True)
    assert decide(seen).step is Step.REGISTER

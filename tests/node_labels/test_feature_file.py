"""The feature file for NFD's worker: what it says, until when, and that nobody ever sees half of it."""

import os
import stat
from pathlib import Path

import pytest

from npu_agent.cluster.errors import FeatureFileUnwritable
from npu_agent.cluster.feature_file import EXPIRES_S, NAME, REFRESH_S, FeatureFile, content, remove, write
from npu_agent.cluster.labels import describe
from tests.node_labels.cards import card, inventory, state

NOON = 1795608000.0  # 2026-11-25T12:00:00Z


def read(text: str) -> dict[str, str]:
    """Return the labels of a file as the worker would read it before it expires."""
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_the_file_says_the_labels_and_until_when_they_hold() -> None:
    described = describe(inventory(card()))
    text = content(described, expires=NOON)
    assert text.splitlines()[0] == "# +expiry-time=2026-11-25T12:00:00Z"
    assert read(text) == described.labels


async def test_it_is_written_anew_long_before_it_expires(tmp_path: Path) -> None:
    output = FeatureFile(tmp_path, "npu-agent.io", date=lambda: NOON - EXPIRES_S)
    assert await output.bring(output.wanted(state(card()))) == ""
    assert (tmp_path / NAME).read_text().startswith("# +expiry-time=2026-11-25T12:00:00Z\n")
    assert output.look_again_s == REFRESH_S < EXPIRES_S / 2


async def test_a_node_without_cards_has_a_file_without_labels(tmp_path: Path) -> None:
    output = FeatureFile(tmp_path, "npu-agent.io")
    await output.bring(output.wanted(state()))
    assert read((tmp_path / NAME).read_text()) == {}


def test_the_worker_who_is_not_root_can_read_it_and_sees_no_other_file(tmp_path: Path) -> None:
    mask = os.umask(0o077)
    try:
        write(tmp_path, "a=b\n")
        write(tmp_path, "a=c\n")
    finally:
        os.umask(mask)
    assert os.listdir(tmp_path) == [NAME]
    assert stat.S_IMODE((tmp_path / NAME).stat().st_mode) == 0o644
    assert (tmp_path / NAME).read_text() == "a=c\n"


def test_a_link_in_the_place_of_the_hidden_file_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    (tmp_path / f".{NAME}").symlink_to(victim)
    with pytest.raises(OSError, match="symbolic links"):
        write(tmp_path, "a=b\n")
    assert victim.read_text() == "untouched"


async def test_a_folder_that_is_not_there_is_said_with_what_to_do(tmp_path: Path) -> None:
    output = FeatureFile(tmp_path / "nothing", "npu-agent.io")
    with pytest.raises(FeatureFileUnwritable, match=r"nothing/npu-agent cannot be written: No such file .* is NFD installed here"):
        await output.bring(output.wanted(state(card())))


def test_taking_it_away_says_whether_there_was_one(tmp_path: Path) -> None:
    write(tmp_path, "a=b\n")
    (tmp_path / f".{NAME}").write_text("half")
    assert remove(tmp_path)
    assert os.listdir(tmp_path) == []
    assert not remove(tmp_path)


def test_a_file_of_many_cards_is_one_that_the_worker_takes() -> None:
    cards = (card(index=index, id=f"82540B87-1055-48C6-AAB1-{index:012X}") for index in range(256))
    assert len(content(describe(inventory(*cards)), expires=NOON)) < 65_536

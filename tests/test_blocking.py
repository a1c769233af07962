"""The detector of blocking calls finds them."""

from pathlib import Path

import pytest

from npu_agent.host.files import read_text
from tests.blocking import no_blocking_calls


async def test_a_file_that_the_agent_reads_in_the_loop_is_found(tmp_path: Path) -> None:
    (tmp_path / "attribute").write_text("0")
    with pytest.raises(AssertionError, match=r"open .*attribute.* at npu_agent/host/files\.py:"), no_blocking_calls():
        read_text(str(tmp_path / "attribute"))


def test_without_a_loop_nothing_is_blocked(tmp_path: Path) -> None:
    (tmp_path / "attribute").write_text("0")
    with no_blocking_calls():
        assert read_text(str(tmp_path / "attribute")) == "0"

"""Limits of this process while cards are looked at: they are told as what they are, and the cards are as they were."""

import contextlib
import os
import resource
from collections.abc import Iterator

import pytest

from npu_agent.backends.sysfs.backend import SysfsBackend
from npu_agent.core.accelerator import Reading
from npu_agent.host.errors import ShortOfResources
from tests.backends.only import only
from tests.host_tree import HostTree


@contextlib.contextmanager
def no_more_files() -> Iterator[None]:
    """Let this process open no file that it has not open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest_free = os.open("/", os.O_RDONLY)
    os.close(lowest_free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_a_process_without_files_says_nothing_of_its_cards(tree: HostTree, backend: SysfsBackend) -> None:
    tree.rngd()
    accelerator = await only(backend)
    with no_more_files():
        with pytest.raises(ShortOfResources, match="may not open more files"):
            await backend.probe(accelerator)
        with pytest.raises(ShortOfResources, match="may not open more files"):
            await backend.scan()
    assert await backend.probe(accelerator) == Reading(healthy=True)
    assert await only(backend) == accelerator


async def test_a_card_that_comes_while_there_are_no_files_is_found_whole_afterwards(tree: HostTree, backend: SysfsBackend) -> None:
    assert await backend.scan() == []
    card = tree.rngd()
    with no_more_files(), pytest.raises(ShortOfResources):
        await backend.scan()
    accelerator = await only(backend)
    assert (accelerator.id, accelerator.unusable, accelerator.firmware) == (card.uuid, "", "2025.1.0+696efad")


async def test_a_limit_that_is_met_in_the_middle_of_a_read_leaves_no_half_of_a_card(
    tree: HostTree, backend: SysfsBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tree.rngd()
    read = os.open

    def short(path: str, flags: int, *rest: int) -> int:
        if path.endswith("device_sn"):
            raise OSError(24, "Too many open files", path)
        return read(path, flags, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(os, "open", short)
        with pytest.raises(ShortOfResources):
            await backend.scan()
    accelerator = await only(backend)
    assert (accelerator.id, accelerator.serial, accelerator.unusable) == (card.uuid, "RNGD000143", "")

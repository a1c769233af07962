"""Cards that do not exist: what they look like, what can happen to them, and what is said of a wrong description."""

import asyncio
import os
import stat
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio.lowlevel
import pytest

from npu_agent.backends import registry
from npu_agent.backends.errors import BackendError, OptionError
from npu_agent.backends.fake.backend import FakeBackend
from npu_agent.core.accelerator import Accelerator, Reading
from tests.backends.only import edits, part_names, without_parts
from tests.scenarios.eventually import eventually

WELL = Reading(healthy=True)


def fake(host_root: Path = Path("/"), *, probe_timeout_s: float = 0.05, **options: Any) -> FakeBackend:
    made = registry.create("fake", options, host_root, probe_timeout_s=probe_timeout_s)
    assert isinstance(made, FakeBackend)
    return made


async def card(backend: FakeBackend, id: str) -> Accelerator:
    return {accelerator.id: accelerator for accelerator in await backend.scan()}[id]


async def ids(backend: FakeBackend) -> list[str]:
    return [accelerator.id for accelerator in await backend.scan()]


@pytest.fixture
async def backend() -> AsyncIterator[FakeBackend]:
    async with fake() as made:
        yield made


async def test_without_options_there_are_two_cards_that_an_operator_can_type(backend: FakeBackend) -> None:
    assert [(found.id, found.family, found.name) for found in await backend.scan()] == [
        ("fake-0", "rngd", "npu0"),
        ("fake-1", "rngd", "npu1"),
    ]


async def test_a_number_of_accelerators_makes_so_many() -> None:
    async with fake(accelerators=8) as backend:
        assert await ids(backend) == [f"fake-{number}" for number in range(8)]


async def test_a_card_is_what_its_description_says() -> None:
    described = {
        "id": "left",
        "family": "warboy",
        "name": "npu7",
        "numa_node": 1,
        "location": "numa1/switch3",
        "pci_address": "0000:6d:00.0",
        "uuid": "A-B",
        "serial": "S1",
        "firmware": "1.6.0",
        "driver": "npu_pdma",
        "attributes": {"rev": "B0"},
    }
    async with fake(accelerators=[described]) as backend:
        assert [without_parts(found) for found in await backend.scan()] == [
            Accelerator(
                id="left",
                parts=(),
                backend="fake",
                family="warboy",
                name="npu7",
                numa_node=1,
                location=("numa1", "switch3", "left"),
                pci_address="0000:6d:00.0",
                uuid="A-B",
                serial="S1",
                firmware="1.6.0",
                driver="npu_pdma",
                attributes=(("rev", "B0"),),
            )
        ]


async def test_a_count_makes_alike_cards_and_numbers_their_ids_and_names() -> None:
    async with fake(accelerators=[{"count": 2, "numa_node": 0}, {"count": 2, "id": "b", "name": "npu1"}, {}]) as backend:
        found = await backend.scan()
        assert [(accelerator.id, accelerator.name) for accelerator in found] == [
            ("fake-0", "npu0"),
            ("fake-1", "npu1"),
            ("b-0", "npu10"),
            ("b-1", "npu11"),
            ("fake-4", "npu4"),
        ]
        assert [accelerator.location for accelerator in found[:3]] == [("numa0", "fake-0"), ("numa0", "fake-1"), ("b-0",)]


async def test_a_card_that_fails_says_why_until_it_is_healed(backend: FakeBackend) -> None:
    first, second = await backend.scan()
    assert await backend.command("fail", ["fake-0", "too", "hot"]) == "fake-0 fails from the next probe on"
    assert await backend.probe(first) == Reading(healthy=False, reason="too hot")
    assert await backend.probe(second) == WELL
    await backend.command("heal", ["fake-0"])
    assert await backend.probe(first) == WELL


async def test_a_fault_without_a_reason_still_has_one(backend: FakeBackend) -> None:
    await backend.command("fail", ["fake-0"])
    assert (await backend.probe(await card(backend, "fake-0"))).reason == "failed by command"


async def test_a_card_that_hangs_is_unhealthy_in_time_and_delays_no_other(backend: FakeBackend) -> None:
    first, second = await backend.scan()
    await backend.command("hang", ["fake-0"])
    async with asyncio.timeout(5):
        readings = await asyncio.gather(backend.probe(first), backend.probe(second))
    assert not readings[0].healthy
    assert "has not come back for" in readings[0].reason
    assert readings[1] == WELL
    await backend.command("heal", ["fake-0"])
    assert await backend.probe(first) == WELL


async def test_a_card_that_hangs_for_a_while_comes_back_by_itself(backend: FakeBackend) -> None:
    first = await card(backend, "fake-0")
    await backend.command("hang", ["fake-0", "0.1"])
    began = time.monotonic()
    assert not (await backend.probe(first)).healthy
    await eventually(lambda: backend.probe(first), lambda reading: reading == WELL)
    assert time.monotonic() - began >= 0.1


async def test_a_slow_card_is_well_as_long_as_it_answers_in_time() -> None:
    async with fake(probe_timeout_s=5) as backend:
        await backend.command("slow", ["fake-0", "0.05"])
        began = time.monotonic()
        assert await backend.probe(await card(backend, "fake-0")) == WELL
        assert time.monotonic() - began >= 0.05


async def test_a_removed_card_is_not_found_until_it_comes_back_without_its_faults(backend: FakeBackend) -> None:
    first = await card(backend, "fake-0")
    await backend.command("fail", ["fake-0"])
    await backend.command("remove", ["fake-0"])
    assert await ids(backend) == ["fake-1"]
    assert await backend.probe(first) == Reading(healthy=False, reason="fake-0 is not there any more")
    assert await backend.command("add", ["fake-0"]) == "fake-0 is added"
    assert await ids(backend) == ["fake-0", "fake-1"]
    assert await backend.probe(first) == WELL


async def test_a_new_card_comes_with_the_id_given_or_the_next_free_one(backend: FakeBackend) -> None:
    assert await backend.command("add", []) == "fake-2 is added"
    assert await backend.command("add", ["spare"]) == "spare is added"
    assert await ids(backend) == ["fake-0", "fake-1", "fake-2", "spare"]
    names = [accelerator.name for accelerator in await backend.scan()]
    assert len(set(names)) == 4


async def test_a_card_can_become_unusable_and_usable_again(backend: FakeBackend) -> None:
    await backend.command("unusable", ["fake-0", "no", "driver"])
    assert (await card(backend, "fake-0")).unusable == "no driver"
    await backend.command("heal", ["fake-0"])
    assert (await card(backend, "fake-0")).unusable == ""


async def test_each_command_asks_for_a_scan_at_once(backend: FakeBackend) -> None:
    changes = backend.hints()
    async with asyncio.timeout(5):
        waiting = asyncio.ensure_future(anext(changes))
        await anyio.lowlevel.checkpoint()
        await backend.command("remove", ["fake-0"])
        await waiting
        await backend.command("add", ["fake-0"])  # while nobody waits: it must not be missed
        await anext(changes)
    await changes.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("explode", ["fake-0"], "there are fail, heal, remove, add, hang, slow, unusable"),
        ("fail", [], "expected fail ID [REASON], got fail"),
        ("heal", ["fake-0", "now"], "expected heal ID, got heal fake-0 now"),
        ("fail", ["fake-9"], "there is no card 'fake-9'; there are fake-0, fake-1"),
        ("hang", ["fake-0", "soon"], "expected seconds, such as 0.5 or 30, got 'soon'"),
        ("slow", ["fake-0", "-1"], "expected seconds"),
        ("slow", ["fake-0", "nan"], "expected seconds"),
        ("add", ["fake-0"], "fake-0 is there already"),
        ("add", ["a/b"], "'a/b' cannot be the id of a card"),
    ],
)
async def test_a_wrong_command_is_refused_with_what_to_write_instead(
    backend: FakeBackend, name: str, arguments: list[str], said: str
) -> None:
    with pytest.raises(BackendError) as refused:
        await backend.command(name, arguments)
    assert said in str(refused.value)


async def test_without_a_folder_containers_get_a_node_that_every_host_has(backend: FakeBackend) -> None:
    given = edits(await card(backend, "fake-1"))
    assert all(node.shared for node in given.device_nodes)
    assert [(node.host_path, node.container_path) for node in given.device_nodes] == [("/dev/null", "/dev/fake/npu1")]


async def test_a_part_gets_the_nodes_of_the_card_and_its_own() -> None:
    described = {"nodes": ["rngd/{name}mgmt", "rngd/{name}{part}"], "partitions": {"half": ["pe0-3", "pe4-7"]}}
    backend = fake(accelerators=[described], device_folder="/dev/fake", container_folder="/dev")
    found = await card(backend, "fake-0")
    assert backend.partitions == {"rngd": ["half"]}
    assert part_names(found, "half") == ["pe0-3", "pe4-7"]
    assert part_names(found, "third") == []
    nodes = [node.container_path for node in edits(found, "pe4-7").device_nodes]
    assert nodes == ["/dev/rngd/npu0mgmt", "/dev/rngd/npu0pe4-7"]
    whole = [node.host_path for node in edits(found).device_nodes]
    assert whole == ["/dev/fake/rngd/npu0mgmt", "/dev/fake/rngd/npu0pe0-3", "/dev/fake/rngd/npu0pe4-7"]


def may_make_nodes(folder: Path) -> bool:
    try:
        os.mknod(folder / "try", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    except PermissionError:
        return False
    (folder / "try").unlink()
    return True


async def test_device_nodes_come_and_go_with_their_cards_and_leave_nothing_behind(tmp_path: Path) -> None:
    backend = fake(tmp_path, device_folder="/run/fake", accelerators=[{"nodes": ["{name}", "rngd/{name}mgmt"]}])
    if not may_make_nodes(tmp_path):
        with pytest.raises(OptionError, match=r"device_folder: .*run as root \(CAP_MKNOD\), or leave device_folder out"):
            await backend.__aenter__()
        return
    async with backend:
        found = await card(backend, "fake-0")
        paths = [tmp_path / node.host_path.lstrip("/") for node in edits(found).device_nodes]
        assert [str(path.relative_to(tmp_path)) for path in paths] == ["run/fake/npu0", "run/fake/rngd/npu0mgmt"]
        assert all(path.is_char_device() and stat.S_IMODE(path.stat().st_mode) == 0o666 for path in paths)
        await backend.command("remove", ["fake-0"])
        assert not any(path.exists() for path in paths)
        await backend.command("add", ["fake-0"])
        assert all(path.is_char_device() for path in paths)
        paths[0].with_name("of-somebody-else").touch()
    assert [path.name for path in (tmp_path / "run").rglob("*")] == ["fake", "of-somebody-else"]


async def test_nodes_that_are_there_already_are_used_and_left_there(tmp_path: Path) -> None:
    if not may_make_nodes(tmp_path):
        return
    os.mknod(tmp_path / "npu0", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    async with fake(tmp_path, device_folder="/", accelerators=1):
        pass
    assert (tmp_path / "npu0").is_char_device()


async def test_a_file_in_the_way_of_a_node_is_named(tmp_path: Path) -> None:
    (tmp_path / "last").touch()
    described = [{"id": "a", "nodes": ["made/first"]} if may_make_nodes(tmp_path) else {"count": 0}, {"id": "b", "nodes": ["last"]}]
    with pytest.raises(OptionError, match=r"device_folder: .*/last is in the way"):
        await fake(tmp_path, device_folder="/", accelerators=described).__aenter__()
    assert [path.name for path in tmp_path.iterdir()] == ["last"]


async def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OptionError, match=r"device_folder: cannot make the device node .*/file/npu0: .*; name another folder"):
        await fake(tmp_path, device_folder="/file", accelerators=1).__aenter__()

"""What becomes of the cards of backends, as everybody who follows the node state sees it."""

from collections.abc import Callable
from typing import Any

import anyio
import msgspec
import pytest

from npu_agent.core.accelerator import Reading
from npu_agent.core.inventory import UNREAD
from npu_agent.core.planning import Omission, Wanted
from npu_agent.core.selection import ResourceSpec, Selector
from npu_agent.host.errors import ShortOfResources
from npu_agent.node import guarded, holding
from npu_agent.node.tracker import Asked
from tests.node.unruly import Unruly, maker, raises
from tests.node.watched import NPU, SHELVED, Clock, Kubelet, configured, devices, healthy, ids, until, watching
from tests.shelf import Preparing, Shelf


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holding, "AGAIN_S", 0.02)
    monkeypatch.setattr(guarded, "PATIENCE_S", 0.05)


async def test_the_first_look_is_complete() -> None:
    shelf = Shelf("a", "b")
    shelf.says["b"] = Reading(False, "alive reads 0")
    async with watching(shelf) as node:
        first, second = devices(node.state.value)
        assert (first.id, first.health.healthy) == ("a", True)
        assert (second.id, second.health.reason) == ("b", "alive reads 0")


async def test_the_first_list_waits_for_a_bound_and_not_for_a_card_that_hangs() -> None:
    shelf = Shelf("a", "b")
    shelf.says["b"] = None
    async with watching(shelf, configuration=configured(probe_timeout_s=60)) as node:
        first, second = devices(node.state.value)
        assert first.health.healthy
        assert (second.health.healthy, second.health.reason) == (False, UNREAD)


async def test_a_card_that_fails_and_heals_is_unhealthy_with_its_reason_in_between() -> None:
    shelf = Shelf("a", "b")
    async with watching(shelf) as node:
        shelf.says["a"] = Reading(False, "too hot")
        failed = await until(node, lambda state: healthy(state) == ["b"])
        assert devices(failed)[0].health.reason == "too hot"
        shelf.says["a"] = Reading(healthy=True)
        healed = await until(node, lambda state: healthy(state) == ["a", "b"])
        assert healed.plan.pools[NPU].generation == failed.plan.pools[NPU].generation + 1


@pytest.mark.parametrize(
    ("says", "reason"), [(None, "did not answer within"), (ZeroDivisionError("oops"), "failed while probing: ZeroDivisionError: oops")]
)
async def test_a_card_in_trouble_delays_and_hides_no_other(says: Exception | None, reason: str) -> None:
    shelf = Shelf("a", "b")
    async with watching(shelf) as node:
        shelf.says["a"] = says
        bad = await until(node, lambda state: healthy(state) == ["b"])
        assert reason in devices(bad)[0].health.reason
        shelf.says["b"] = Reading(False, "dead")
        await until(node, lambda state: healthy(state) == [])


async def test_a_card_that_is_plugged_in_appears_without_waiting_for_the_next_scan() -> None:
    shelf = Shelf()
    async with watching(shelf) as node:
        shelf.put("new")
        await until(node, lambda state: healthy(state) == ["new"])


async def test_a_card_that_leaves_is_forgotten_where_nobody_holds_it() -> None:
    shelf = Shelf("a", "b")
    async with watching(shelf) as node:
        shelf.take("a")
        await until(node, lambda state: ids(state) == ["b"])


async def test_a_card_that_leaves_stays_as_unhealthy_while_a_pod_holds_it_and_no_longer() -> None:
    shelf, kubelet = Shelf("a", "b"), Kubelet({"pod": ("a",)})
    async with watching(shelf, kubelet=kubelet) as node:
        shelf.take("a")
        away = await until(node, lambda state: healthy(state) == ["b"])
        assert "a is not there any more" in devices(away)[0].health.reason
        kubelet.pods = {}
        await until(node, lambda state: ids(state) == ["b"])


async def test_a_card_that_leaves_stays_for_a_while_where_kubelet_cannot_be_asked() -> None:
    shelf, clock = Shelf("a", "b"), Clock()
    async with watching(shelf, kubelet=Kubelet(None), configuration=configured(vanished_linger_s=300), clock=clock) as node:
        shelf.take("a")
        await until(node, lambda state: len(ids(state)) == 2 and healthy(state) == ["b"])
        clock.at += 300
        await until(node, lambda state: len(ids(state)) == 1)


async def test_a_card_that_lost_its_driver_is_not_handed_out_but_known() -> None:
    shelf = Shelf("a")
    async with watching(shelf) as node:
        shelf.put("a", unusable="no driver is bound")
        state = await until(node, lambda state: state.inventory["a"].vanished_at is None and not devices(state))
        assert state.plan.left_out["a"].omission is Omission.UNUSABLE


@pytest.mark.parametrize("trouble", [OSError("the bus is gone"), ZeroDivisionError("oops")])
async def test_a_backend_that_cannot_look_keeps_what_it_found_and_says_so(trouble: Exception) -> None:
    shelf = Shelf("a")
    async with watching(shelf) as node:
        shelf.scan_fails = trouble
        shelf.put("later")
        bad = await until(node, lambda state: bool(state.problems))
        problem = bad.problems["backend shelf"]
        assert str(trouble) in problem.text
        assert "what it found before stays" in problem.text
        assert healthy(bad) == ["a"]
        shelf.put("later")
        await anyio.wait_all_tasks_blocked()
        assert node.state.value.problems == {"backend shelf": problem}, "it is the same problem, since the same time"
        shelf.scan_fails = None
        shelf.put("later")
        well = await until(node, lambda state: healthy(state) == ["a", "later"])
        assert well.problems == {}


async def test_a_card_that_two_backends_find_is_one_device() -> None:
    async with watching(Shelf("a", name="one"), Shelf("a", "b", name="two")) as node:
        assert healthy(node.state.value) == ["a", "b"]


async def test_a_card_that_two_backends_see_belongs_to_the_one_that_can_use_it() -> None:
    bound, usable = Shelf(name="one"), Shelf(name="two")
    bound.put("x", pci_address="0000:27:00.0", unusable="bound to vfio-pci")
    usable.put("y", pci_address="0000:27:00.0")
    async with watching(bound, usable) as node:
        assert healthy(node.state.value) == ["y"]
        assert node.state.value.inventory["y"].accelerator.backend == "two"


async def test_partitions_are_those_of_the_card() -> None:
    half = msgspec.structs.replace(SHELVED, partition="half")
    async with watching(Shelf("a"), configuration=configured(resources=(half,))) as node:
        assert healthy(node.state.value) == ["a_left", "a_right"]


async def test_a_card_that_no_resource_selects_says_so() -> None:
    nobody = ResourceSpec(NPU, Selector(families=("other",)))
    async with watching(Shelf("a"), configuration=configured(resources=(nobody,))) as node:
        assert node.state.value.plan.left_out["a"].omission is Omission.UNSELECTED


async def test_our_own_shortage_leaves_the_health_of_cards_as_it_was() -> None:
    shelf = Shelf("a", "b")
    async with watching(shelf) as node:
        shelf.says["a"] = ShortOfResources("no more files can be opened: the limit is 5 (ulimit -n)")
        short = await until(node, lambda state: bool(state.problems))
        assert short.problems["agent"].text == "no more files can be opened: the limit is 5 (ulimit -n)"
        assert healthy(short) == ["a", "b"]
        shelf.says["a"] = Reading(healthy=True)
        well = await until(node, lambda state: not state.problems)
        assert healthy(well) == ["a", "b"]


RAISES = raises(ZeroDivisionError("oops"))


def returns_nothing() -> None:
    return None


@pytest.mark.parametrize(
    ("seam", "misdeed"),
    [
        *((seam, RAISES) for seam in ("make", "enter", "scan", "probe", "hints")),
        *((seam, anyio.sleep_forever) for seam in ("enter", "scan", "probe")),
        *((seam, returns_nothing) for seam in ("make", "scan", "probe")),
    ],
)
async def test_a_backend_that_misbehaves_is_told_and_touches_no_other(
    seam: str, misdeed: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for doing in ("ENTER", "SCAN"):
        monkeypatch.setattr(guarded, f"{doing}_TIMEOUT_S", 0.05)
    shelf = Shelf("a")
    async with watching(shelf, makers={"unruly": maker(Unruly("u", misbehaves={seam: misdeed}))}) as node:
        assert "a" in healthy(node.state.value)
        if seam == "probe":
            await until(node, lambda state: "u" in ids(state) and "u" not in healthy(state))
        else:
            told = await until(node, lambda state: bool(state.problems))
            assert all("unruly" in source for source in told.problems)
        shelf.says["a"] = Reading(False, "too hot")
        await until(node, lambda state: "a" not in healthy(state))


async def test_a_backend_comes_and_goes_while_the_agent_runs() -> None:
    first, second = Shelf("a", name="one"), Shelf("b", name="two")
    async with watching(first) as node:
        node.backends.set({**node.backends.value, "two": Asked(lambda: second)})
        await until(node, lambda state: healthy(state) == ["a", "b"])
        node.backends.set({"two": node.backends.value["two"]})
        await until(node, lambda state: ids(state) == ["b"])


async def test_a_resource_comes_changes_and_goes_while_the_agent_runs() -> None:
    async with watching(Shelf("a", "b")) as node:
        node.writer.want(Wanted((ResourceSpec("example.com/a", Selector(ids=("a",))), SHELVED)))
        both = await until(node, lambda state: "example.com/a" in state.plan.pools)
        assert (healthy(both, "example.com/a"), healthy(both)) == (["a"], ["b"])
        assert both.revision == 2
        node.writer.want(Wanted((SHELVED,)))
        one = await until(node, lambda state: "example.com/a" not in state.plan.pools)
        assert healthy(one) == ["a", "b"]


async def test_only_resources_whose_backend_wants_it_are_prepared() -> None:
    async with watching(Preparing("a")) as node:
        assert node.state.value.plan.pools[NPU].pre_start
    async with watching(Shelf("a")) as node:
        assert not node.state.value.plan.pools[NPU].pre_start

"""A node that is kept in step with what is there, whatever the API server does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

import anyio
import pytest

from npu_agent.cluster import keeping
from npu_agent.cluster.client import ApiServer
from npu_agent.cluster.keeping import keep
from npu_agent.cluster.outputs import NodeOutput, tell_cluster
from npu_agent.cluster.taints import ANNOTATION, Taint
from npu_agent.config.cluster import ClusterSettings
from npu_agent.core.health import Health
from npu_agent.core.state import NodeState
from npu_agent.flow.current import Current
from tests.node_labels.api_double import ApiDouble, Fault, api_double
from tests.node_labels.cards import card, state

TAINT = Taint("furiosa.ai/npu", "exclusive", "NoSchedule")
NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoExecute"}


class Told:
    """What is told of an output: the problem that there is now, and all that there were."""

    def __init__(self) -> None:
        self.now = Current("")
        self.all: list[str] = []

    def __call__(self, source: str, text: str) -> None:
        assert source == "node labels"
        if text != self.now.value:
            self.all.append(text)
        self.now.set(text)

    async def until(self, is_so: Callable[[str], bool]) -> str:
        async for text in self.now.follow():
            if is_so(text):
                return text
        raise AssertionError


@pytest.fixture
async def api() -> AsyncIterator[ApiDouble]:
    async with api_double() as double:
        double.add_node("n1")
        yield double


@asynccontextmanager
async def kept(
    api: ApiDouble, current: Current[NodeState], *, taint: Taint | None = None, prefix: str | None = "npu-agent.io", hour_s: float = 3600.0
) -> AsyncIterator[Told]:
    output = NodeOutput(ApiServer(api.access), "n1", prefix=prefix, taint=taint)
    output.look_again_s = hour_s
    told = Told()

    async def run() -> None:
        await keep(current, output, told, chance=lambda: 0.0, empty_s=0.05)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        with anyio.fail_after(20):
            yield told
        tasks.cancel_scope.cancel()


async def until(is_so: Callable[[], bool], api: ApiDouble) -> None:
    while not is_so():
        api.came.clear()
        await api.came.wait()
        await asyncio.sleep(0.01)  # the answer follows the request


async def test_labels_come_with_a_card_change_with_it_and_go_with_it(api: ApiDouble) -> None:
    current = Current(state())
    async with kept(api, current):
        await until(lambda: len(api.asked) == 1, api)
        assert not api.written, "a node without a card is not written"
        current.set(state(card()))
        await until(lambda: api.labels("n1").get("furiosa.ai/npu.count") == "1", api)
        assert api.labels("n1")["kubernetes.io/hostname"] == "n1"
        current.set(state(card(), card(index=1)))
        await until(lambda: api.labels("n1").get("furiosa.ai/npu.count") == "2", api)
        current.set(state())
        await until(lambda: api.labels("n1") == {"kubernetes.io/hostname": "n1"}, api)


async def test_a_change_that_is_no_change_of_labels_asks_nothing(api: ApiDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "BETWEEN_S", 0.0)
    current = Current(state(card()))
    async with kept(api, current):
        await until(lambda: bool(api.written), api)
        asked = len(api.asked)
        for since in range(20):
            [(id, tracked)] = current.value.inventory.items()
            current.set(replace(current.value, inventory={id: replace(tracked, health=Health(False, "ill", float(since)))}))
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.5)
        assert len(api.asked) == asked


async def test_a_look_once_an_hour_reads_and_writes_only_what_somebody_changed(api: ApiDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "BETWEEN_S", 0.0)
    current = Current(state(card()))
    async with kept(api, current, hour_s=0.05):
        await until(lambda: len(api.asked) >= 5, api)
        assert len(api.written) == 1
        del api.node("n1")["metadata"]["labels"]["furiosa.ai/npu.count"]
        await until(lambda: len(api.written) == 2, api)
        assert api.labels("n1")["furiosa.ai/npu.count"] == "1"


async def test_an_api_server_that_is_away_is_told_once_and_tried_again_until_it_is_back(api: ApiDouble) -> None:
    api.faults.extend([Fault(status=503), Fault(cut=0), Fault(content=b"<html>")])
    current = Current(state(card()))
    async with kept(api, current) as told:
        assert "503" in await told.until(bool)
        await told.until(lambda text: not text)
        assert api.labels("n1")["furiosa.ai/npu.count"] == "1"
        assert len(told.all) >= 2


async def test_what_changes_while_the_api_server_is_away_is_written_as_it_is_then(api: ApiDouble) -> None:
    api.always = Fault(status=503)
    current = Current(state(card()))
    async with kept(api, current) as told:
        await told.until(bool)
        current.set(state(card(), card(index=1)))
        api.always = None
        await until(lambda: api.labels("n1").get("furiosa.ai/npu.count") == "2", api)
        assert len(api.written) == 1


async def test_a_refusal_names_what_to_do(api: ApiDouble) -> None:
    api.always = Fault(status=403)
    async with kept(api, Current(state(card()))) as told:
        assert "403" in (text := await told.until(bool))
        assert "ClusterRole" in text


async def test_the_taint_comes_with_a_card_and_goes_with_the_last_one(api: ApiDouble) -> None:
    api.node("n1")["spec"]["taints"] = [NOT_READY]
    current = Current(state(card()))
    async with kept(api, current, taint=TAINT):
        await until(lambda: len(api.taints("n1")) == 2, api)
        assert api.taints("n1") == [NOT_READY, {"key": TAINT.key, "value": TAINT.value, "effect": TAINT.effect}]
        assert api.node("n1")["metadata"]["annotations"][ANNOTATION] == str(TAINT)
        current.set(state())
        await until(lambda: api.taints("n1") == [NOT_READY], api)
        assert ANNOTATION not in api.node("n1")["metadata"].get("annotations", {})


async def test_a_taint_that_is_wanted_no_more_goes(api: ApiDouble) -> None:
    api.node("n1")["spec"]["taints"] = [NOT_READY, {"key": TAINT.key, "value": TAINT.value, "effect": TAINT.effect}]
    api.node("n1")["metadata"]["annotations"] = {ANNOTATION: str(TAINT)}
    async with kept(api, Current(state(card()))):
        await until(lambda: "furiosa.ai/npu.count" in api.labels("n1"), api)
    assert api.taints("n1") == [NOT_READY]
    assert ANNOTATION not in api.node("n1")["metadata"]["annotations"]


async def test_a_taint_that_comes_between_our_read_and_our_write_stays(api: ApiDouble) -> None:
    others = [{"key": f"other-{number}", "effect": "NoSchedule"} for number in range(3)]

    def write(other: dict[str, str]) -> None:
        node = api.node("n1")
        api.put("/api/v1/nodes/n1", {**node, "spec": {"taints": [*node["spec"].get("taints", []), other]}})

    api.before_writes.extend(partial(write, other) for other in others)
    async with kept(api, Current(state(card())), taint=TAINT, prefix=None):
        await until(lambda: len(api.taints("n1")) == 4, api)
    assert {taint["key"] for taint in api.taints("n1")} == {TAINT.key, *(other["key"] for other in others)}


async def test_a_taint_of_somebody_else_in_the_place_of_ours_is_a_problem(api: ApiDouble) -> None:
    api.node("n1")["spec"]["taints"] = [{"key": TAINT.key, "value": "broken", "effect": TAINT.effect}]
    async with kept(api, Current(state(card())), taint=TAINT) as told:
        assert "of somebody else" in await told.until(bool)
        assert api.labels("n1")["furiosa.ai/npu.count"] == "1"


async def test_a_node_that_was_made_anew_gets_its_labels_again(api: ApiDouble, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "BETWEEN_S", 0.0)
    async with kept(api, Current(state(card())), hour_s=0.1):
        await until(lambda: "furiosa.ai/npu.count" in api.labels("n1"), api)
        api.put("/api/v1/nodes/n1", {"kind": "Node", "metadata": {"name": "n1", "uid": "another"}, "spec": {}})
        await until(lambda: "furiosa.ai/npu.count" in api.labels("n1"), api)


async def test_no_node_is_made_where_there_is_none(api: ApiDouble) -> None:
    del api.objects["/api/v1/nodes/n1"]
    async with kept(api, Current(state(card()))) as told:
        assert "not found" in await told.until(bool)
        assert not api.objects
        api.add_node("n1")
        await told.until(lambda text: not text)
        assert "furiosa.ai/npu.count" in api.labels("n1")


def test_nothing_of_the_cluster_is_imported_by_an_agent_that_tells_it_nothing() -> None:
    source = Path(keeping.__file__).parents[1] / "agent.py"
    head = source.read_text().partition("class NoDevice")[0]
    assert "npu_agent.cluster" not in head


async def test_a_fault_of_our_own_is_a_problem_until_it_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = [ValueError("nobody foresaw this")]

    async def bring(self: NodeOutput, wanted: object) -> str:
        if broken:
            raise broken.pop()
        return ""

    monkeypatch.setattr(NodeOutput, "bring", bring)
    told = Told()
    async with anyio.create_task_group() as tasks:
        settings = ClusterSettings(labels="apply")
        tasks.start_soon(tell_cluster, Current(state(card())), told, settings, "n1", None)
        with anyio.fail_after(20):
            assert "ValueError: nobody foresaw this" in await told.until(bool)
            await told.until(lambda text: not text)
        tasks.cancel_scope.cancel()

"""The handover: what kubelet is told, what is in the specs by then, and what becomes of them."""

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from npu_agent.cdi import handover as module
from npu_agent.cdi.handover import Handover, Way
from npu_agent.core.accelerator import ContainerEdits, DeviceNode, Part
from npu_agent.core.edits import merge, without_nodes
from npu_agent.core.errors import AllocationError
from npu_agent.core.health import Health
from npu_agent.core.planning import Plan
from npu_agent.core.pool import Device, Pool
from npu_agent.core.state import NodeState
from npu_agent.flow.current import Current
from tests.scenarios.eventually import eventually

NPU = "furiosa.ai/npu"
WELL = Health(True, "", 0.0)


def device(name: str) -> Device:
    nodes = (DeviceNode(f"/dev/{name}", f"/dev/{name}"), DeviceNode(f"/dev/{name}-extra", f"/dev/{name}-extra", required=False))
    return Device(name, name, WELL, part=Part(edits=ContainerEdits(nodes, environment=(("CARD", name),))))


def state_of(**pools: Sequence[Device]) -> NodeState:
    return NodeState(plan=Plan({f"furiosa.ai/{name}": Pool(f"furiosa.ai/{name}", tuple(devices)) for name, devices in pools.items()}))


@dataclass
class Machine:
    """What a host has, and the handover in front of it."""

    folder: Path
    absent: set[str] = field(default_factory=set)
    held: frozenset[str] = frozenset()
    told: Current[str] = field(default_factory=lambda: Current(""))

    async def allocate(self, resource: str, devices: Sequence[Device]) -> ContainerEdits:
        return without_nodes(merge([device.part.edits for device in devices]), self.absent)

    async def prepare(self, devices: Sequence[Device]) -> None:
        raise AllocationError(f"{devices[0].id} is prepared")

    async def as_found(self, parts: Sequence[Part]) -> Sequence[ContainerEdits]:
        return [without_nodes(part.edits, self.absent) for part in parts]

    def handover(self, way: Way = "cdi") -> Handover:
        return Handover(self.folder, way, self, as_found=self.as_found, held=lambda: self.held, tell=self.told.set)

    def names(self) -> set[str]:
        return {path.name for path in self.folder.glob("*.json")}

    def devices(self, resource: str = "npu") -> dict[str, list[str]]:
        spec: Any = json.loads((self.folder / f"npu-agent-furiosa.ai_{resource}.json").read_text())
        return {one["name"]: [node["path"] for node in one["containerEdits"]["deviceNodes"]] for one in spec["devices"]}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "run" / "cdi")


@asynccontextmanager
async def running(handover: Handover, state: Current[NodeState]) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(handover.run, state)
        yield
        tasks.cancel_scope.cancel()


async def until(holds: Callable[[], object]) -> None:
    async def look() -> object:
        return holds()

    await eventually(look, bool)


async def test_the_specs_follow_the_plan_and_go_with_the_agent(machine: Machine) -> None:
    state = Current(state_of(npu=[device("a"), device("b")]))
    async with running(machine.handover(), state):
        await until(lambda: machine.names() == {"npu-agent-furiosa.ai_npu.json"})
        assert machine.devices() == {"a": ["/dev/a", "/dev/a-extra"], "b": ["/dev/b", "/dev/b-extra"]}
        state.set(state_of(npu=[device("b")], other=[device("c")]))
        await until(lambda: len(machine.names()) == 2)
        assert machine.devices() == {"b": ["/dev/b", "/dev/b-extra"]}
        state.set(state_of(other=[device("c")]))
        await until(lambda: machine.names() == {"npu-agent-furiosa.ai_other.json"})
    assert machine.names() == set()


async def test_specs_of_what_pods_hold_outlive_the_agent_and_those_of_an_agent_before_do_not(machine: Machine) -> None:
    machine.folder.mkdir(parents=True)
    (machine.folder / "npu-agent-furiosa.ai_old.json").write_text("{}")
    (machine.folder / "vendor.json").write_text("{}")
    machine.held = frozenset({NPU})
    async with running(machine.handover(), Current(state_of(npu=[device("a")], free=[device("b")]))):
        await until(lambda: "npu-agent-furiosa.ai_free.json" in machine.names() and "npu-agent-furiosa.ai_old.json" not in machine.names())
    assert machine.names() == {"vendor.json", "npu-agent-furiosa.ai_npu.json"}


@pytest.mark.parametrize("way", ["cdi", "both"])
async def test_kubelet_is_told_names_of_what_is_in_the_spec_by_then(machine: Machine, way: Way) -> None:
    machine.absent = {"/dev/b-extra"}
    edits = await machine.handover(way).allocate(NPU, [device("b"), device("a")])
    assert machine.devices() == {"a": ["/dev/a", "/dev/a-extra"], "b": ["/dev/b"]}
    names = ("furiosa.ai/npu=b", "furiosa.ai/npu=a")
    assert edits.cdi_devices == names
    assert edits.annotations == (("cdi.k8s.io/npu-agent-furiosa.ai_npu", ",".join(names)),)
    assert edits.environment == (("CARD", "b,a"),)
    assert [node.host_path for node in edits.device_nodes] == ([] if way == "cdi" else ["/dev/b", "/dev/a", "/dev/a-extra"])


async def test_a_spec_that_somebody_removed_is_there_again_before_it_is_named(machine: Machine) -> None:
    handover = machine.handover()
    async with running(handover, Current(state_of(npu=[device("a"), device("b")]))):
        await until(lambda: machine.names() != set())
        (machine.folder / "npu-agent-furiosa.ai_npu.json").unlink()
        await handover.allocate(NPU, [device("a")])
        assert set(machine.devices()) == {"a", "b"}


async def test_a_removed_folder_comes_back_by_itself(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.02)
    async with running(machine.handover(), Current(state_of(npu=[device("a")]))):
        await until(lambda: machine.names() != set())
        (machine.folder / "npu-agent-furiosa.ai_npu.json").unlink()
        machine.folder.rmdir()
        await until(lambda: machine.names() != set())


async def test_a_folder_that_cannot_be_written_costs_only_what_needs_it(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOOK_AGAIN_S", 0.02)
    machine.folder.parent.mkdir()
    machine.folder.write_text("not a folder")
    async with running(machine.handover(), Current(state_of(npu=[device("a")]))):
        await until(lambda: machine.told.value)
        assert f"the CDI spec {machine.folder}/npu-agent-furiosa.ai_npu.json cannot be written: " in machine.told.value
        with pytest.raises(AllocationError, match="cannot be written"):
            await machine.handover().allocate(NPU, [device("a")])
        edits = await machine.handover("both").allocate(NPU, [device("a")])
        assert (edits.cdi_devices, len(edits.device_nodes)) == ((), 2)
        machine.folder.unlink()
        await until(lambda: not machine.told.value)
        assert set(machine.devices()) == {"a"}


async def test_a_device_that_the_host_refuses_is_refused(machine: Machine) -> None:
    async def refuse(resource: str, devices: Sequence[Device]) -> ContainerEdits:
        raise AllocationError("no")

    machine.allocate = refuse  # type: ignore[method-assign]
    with pytest.raises(AllocationError, match="no"):
        await machine.handover().allocate(NPU, [device("a")])
    with pytest.raises(AllocationError, match="a is prepared"):
        await machine.handover().prepare([device("a")])


async def test_a_spec_is_written_once_for_as_long_as_it_says_the_same(machine: Machine) -> None:
    state = Current(state_of(npu=[device("a")]))
    handover = machine.handover()
    async with running(handover, state):
        await until(lambda: machine.names() != set())
        path = machine.folder / "npu-agent-furiosa.ai_npu.json"
        first = path.stat().st_ino
        sick = replace(device("a"), health=Health(False, "sick", 1.0))
        state.set(state_of(npu=[sick]))
        await handover.allocate(NPU, [device("a")])
        assert path.stat().st_ino == first

import pytest

from npu_agent.simulator.console import CommandError, Console, Quit
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.simulator.plugin import RESOURCE, Plugin, shows


@pytest.fixture
def console(kubelet: SimulatedKubelet) -> Console:
    return Console(kubelet)


async def test_a_developer_plays_kubelet(kubelet: SimulatedKubelet, console: Console) -> None:
    def runs() -> bool:
        return kubelet.is_running

    assert await console.carry_out("capacity") == "no plugin has registered yet"
    async with Plugin(kubelet.plugin_dir, a=True, b=False) as plugin:
        await plugin.register()
        await shows(kubelet, 2, 1)
        assert await console.carry_out("capacity") == f"{RESOURCE}: capacity 2, allocatable 1"
        assert await console.carry_out(f"pod one {RESOURCE}=1") == f"pod one runs with {RESOURCE} a (/dev/a as /dev/a)"
        assert (await console.carry_out(f"pod two {RESOURCE}=1")).startswith("pod two failed: UnexpectedAdmissionError: Pod was rejected:")
        assert [line.split()[:3] for line in (await console.carry_out("pods")).splitlines()] == [
            ["pod", "one", "runs"],
            ["pod", "two", "failed:"],
        ]
        assert await console.carry_out("delete one") == "pod one is gone"
        await console.carry_out("cut")
        assert await console.carry_out("capacity") == f"{RESOURCE}: capacity 2, allocatable 0"
    await console.carry_out("restart")
    assert await console.carry_out("capacity") == f"{RESOURCE}: capacity 0, allocatable 0"
    await console.carry_out("stop")
    assert not runs()
    await console.carry_out("start")
    assert runs()
    assert await console.carry_out("  ") == ""
    with pytest.raises(Quit):
        await console.carry_out("quit")


async def test_help_names_every_command(console: Console) -> None:
    told = await console.carry_out("help")
    assert [line.split()[0] for line in told.splitlines()] == [
        *("pod", "delete", "pods", "capacity", "restart", "stop", "start", "cut", "help", "quit")
    ]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("frobnicate", "there is no command 'frobnicate'; write help for those that there are"),
        ("pod", "expected pod NAME RESOURCE=COUNT…, got pod"),
        ("capacity now", "expected capacity, got capacity now"),
        ("pod one npu", "expected RESOURCE=COUNT, such as furiosa.ai/npu=1, got npu"),
        ("pod one npu=-1", "expected RESOURCE=COUNT, such as furiosa.ai/npu=1, got npu=-1"),
        ("delete ghost", "there is no pod ghost; write pods for those that there are"),
        ("start", "kubelet runs already; write stop or restart"),
        ("pod there", "a pod named there is running already; delete it first or choose another name"),
    ],
)
async def test_a_wrong_line_is_told_what_to_write(console: Console, line: str, said: str) -> None:
    await console.carry_out("pod there")
    with pytest.raises(CommandError) as error:
        await console.carry_out(line)
    assert str(error.value) == said


@pytest.mark.parametrize("line", ["capacity", "cut", "pod one"])
async def test_what_only_a_running_kubelet_does_is_refused_while_it_is_stopped(console: Console, line: str) -> None:
    await console.carry_out("stop")
    with pytest.raises(CommandError, match="kubelet is stopped; write start"):
        await console.carry_out(line)

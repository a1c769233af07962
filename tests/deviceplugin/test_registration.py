"""What a Register call that comes to nothing is called."""

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import grpclib.client
import pytest

from npu_agent.deviceplugin import registration
from npu_agent.deviceplugin.errors import KubeletUnreachable, RegistrationRefused
from npu_agent.deviceplugin.registration import KubeletConnection
from npu_agent.simulator.faults import RegisterFault
from npu_agent.simulator.kubelet import SimulatedKubelet
from tests.simulator.own_task import in_own_task


@pytest.fixture(params=["1.33.13", "1.34.4"])
async def silent_kubelet(short_dir: Path, request: pytest.FixtureRequest) -> AsyncIterator[SimulatedKubelet]:
    """A kubelet that never answers Register, of both sides of the release from which it resets a call whose deadline has passed."""
    async with in_own_task(SimulatedKubelet(short_dir, version=request.param)) as kubelet:
        kubelet.faults.register.append(RegisterFault(hang=True))
        await kubelet.start()
        yield kubelet


async def register(kubelet: SimulatedKubelet) -> None:
    async with KubeletConnection(kubelet.plugin_dir / "kubelet.sock") as connection:
        await connection.register("furiosa.ai/npu", "card.sock", pre_start=False)


async def test_a_kubelet_that_does_not_answer_in_time_is_not_taken_for_one_that_is_gone(
    silent_kubelet: SimulatedKubelet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registration, "REGISTER_TIMEOUT_S", 2.0)
    # As it does with more than ten seconds.
    monkeypatch.setattr(grpclib.client, "encode_timeout", lambda seconds: f"{int(seconds)}S")
    with pytest.raises(RegistrationRefused, match=r"^no answer within 1 s$"):
        await register(silent_kubelet)


async def test_a_kubelet_that_ends_before_it_answers_is_gone(silent_kubelet: SimulatedKubelet) -> None:
    async with anyio.create_task_group() as tasks:

        async def call() -> None:
            with pytest.raises(KubeletUnreachable, match=r"kubelet ended the connection to .* before it answered: Connection lost"):
                await register(silent_kubelet)

        tasks.start_soon(call)
        with anyio.fail_after(5):
            await silent_kubelet.until(lambda: silent_kubelet.register_calls == 1)
        await silent_kubelet.stop()

import os
import socket
from pathlib import Path

import pytest
from grpclib.const import Status as Code
from grpclib.exceptions import GRPCError
from grpclib.server import Server

from npu_agent.api.npu_agent.v1 import AgentBase, GetStatusRequest, Status
from npu_agent.control import client
from npu_agent.control.client import SOCKET_NAME, AgentClient
from npu_agent.control.errors import AgentUnreachable
from tests.silent import silent

SOMEBODY = 4711


class LateAgent(AgentBase):
    """The first to see that the deadline has passed."""

    async def get_status(self, message: GetStatusRequest) -> Status:
        raise GRPCError(Code.DEADLINE_EXCEEDED)


async def get_no_status(runtime_dir: Path) -> None:
    async with AgentClient(runtime_dir) as agent:
        with pytest.raises(AgentUnreachable, match=r"the agent did not answer on .*/agent\.sock within 0\.1 s"):
            await agent.status()


@pytest.fixture(autouse=True)
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "ANSWER_TIMEOUT_S", 0.1)


async def test_somebody_else_who_listens_in_the_agent_s_place_is_asked_nothing(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as theirs:
        theirs.bind(str(tmp_path / SOCKET_NAME))
        os.seteuid(SOMEBODY)  # the kernel tells who it was that began to listen
        try:
            theirs.listen()
        finally:
            os.seteuid(0)
        async with AgentClient(tmp_path) as agent:
            with pytest.raises(AgentUnreachable, match=rf"agent\.sock: user {SOMEBODY} listens there, and this is user 0$"):
                await agent.shut_down()


async def test_an_agent_that_says_nothing_did_not_answer_in_time(tmp_path: Path) -> None:
    with silent(tmp_path / SOCKET_NAME):
        await get_no_status(tmp_path)


async def test_an_agent_that_is_the_first_to_see_that_the_time_is_over_did_not_answer_in_time(tmp_path: Path) -> None:
    server = Server([LateAgent()])
    await server.start(path=str(tmp_path / SOCKET_NAME))
    try:
        await get_no_status(tmp_path)
    finally:
        server.close()
        await server.wait_closed()

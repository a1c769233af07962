"""Whether a socket of ours answers, on real sockets."""

import asyncio
import os
import socket
import threading
from pathlib import Path

import pytest

from npu_agent.rpc.dialling import unanswered
from npu_agent.rpc.serving import KnownServer
from tests.silent import silent


async def test_a_server_of_ours_answers_without_being_called(short_dir: Path) -> None:
    server = KnownServer([])
    await server.start(path=str(short_dir / "a.sock"))
    try:
        assert await unanswered(short_dir / "a.sock", within_s=5) == ""
    finally:
        server.close()


async def test_a_socket_that_is_not_there_or_has_nobody_behind_it_is_named_by_the_system(short_dir: Path) -> None:
    assert await unanswered(short_dir / "none.sock", within_s=5) == os.strerror(2)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(short_dir / "left.sock"))
    assert await unanswered(short_dir / "left.sock", within_s=5) == "Connection refused"


async def test_a_server_that_takes_connections_and_says_nothing_is_silent(short_dir: Path) -> None:
    with silent(short_dir / "silent.sock"):
        assert await unanswered(short_dir / "silent.sock", within_s=0.05) == "there was no answer within 0.05 s"


async def test_a_server_whose_queue_is_full_takes_no_connections(short_dir: Path) -> None:
    path = short_dir / "full.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen(0)
        with socket.socket(socket.AF_UNIX) as first:
            first.connect(str(path))
            assert await unanswered(path, within_s=0.05) == "nobody takes the connections that wait there"


@pytest.mark.parametrize(
    ("said", "why"), [(b"", "the connection was closed at once"), (b"220 mail.example ESMTP\r\n", "what answers there is no gRPC server")]
)
async def test_somebody_else_in_its_place_is_not_taken_for_us(short_dir: Path, said: bytes, why: str) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(short_dir / "other.sock"))
        listening.listen()

        def answer() -> None:
            with listening.accept()[0] as peer:
                peer.sendall(said)

        thread = threading.Thread(target=answer)
        thread.start()
        assert await unanswered(short_dir / "other.sock", within_s=5) == why
        await asyncio.to_thread(thread.join)

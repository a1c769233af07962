"""Processes that do the least that an agent in Python can do: the floors.

python -m benchmarks.bare imports           import what the agent imports, and end
python -m benchmarks.bare serve SOCKET N    answer empty calls, and stream one list of N devices
python -m benchmarks.bare idle FILE...      read the files once a second
"""

import asyncio
import importlib
import sys
from collections.abc import AsyncIterator
from pathlib import Path

LIBRARIES = ("anyio", "asyncinotify", "betterproto2", "betterproto2.grpclib", "grpclib.client", "grpclib.server", "msgspec")
LIBRARIES_OF_THE_COMMAND_LINE = ("typer", "yaml")


def imports() -> None:
    """Import what the agent imports of others."""
    for name in LIBRARIES + LIBRARIES_OF_THE_COMMAND_LINE:
        importlib.import_module(name)
    asyncio.new_event_loop().close()


async def serve(path: str, count: int) -> None:
    """Serve on the socket `path` until killed."""
    from grpclib.server import Server

    from npu_agent.api.v1beta1 import Device, DevicePluginBase, DevicePluginOptions, Empty, ListAndWatchResponse

    devices = ListAndWatchResponse(devices=[Device(id=f"82540B87-1055-48C6-AAB1-{index:012X}", health="Healthy") for index in range(count)])

    class Bare(DevicePluginBase):
        async def get_device_plugin_options(self, message: Empty) -> DevicePluginOptions:
            return DevicePluginOptions()

        async def list_and_watch(self, message: Empty) -> AsyncIterator[ListAndWatchResponse]:
            yield devices
            await asyncio.Event().wait()

    server = Server([Bare()])
    await server.start(path=path)
    print("listening", flush=True)
    await server.wait_closed()


async def idle(paths: list[str]) -> None:
    """Read the files once a second until killed."""
    while True:
        for path in paths:
            await asyncio.to_thread(Path(path).read_bytes)
        await asyncio.sleep(1.0)


def main(what: str, *arguments: str) -> None:
    """Do what the command line says."""
    if what == "imports":
        imports()
    elif what == "serve":
        asyncio.run(serve(arguments[0], int(arguments[1])))
    else:
        imports()
        asyncio.run(idle(list(arguments)))


if __name__ == "__main__":
    main(*sys.argv[1:])

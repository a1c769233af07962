"""`npu-agent cdi`: the specs by which container runtimes know the devices of this host."""

from pathlib import Path
from typing import Annotated

import typer

from npu_agent.cli import exits, paths


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(cdi)


def cdi(
    config: paths.Config = None,
    backend: paths.Backends = None,
    host_root: paths.HostRoot = Path("/"),
    kubelet_dir: paths.KubeletDir = Path("/var/lib/kubelet"),
    pod_resources: paths.PodResources = None,
    write: Annotated[
        Path | None,
        typer.Option("--write", metavar="<folder>", readable=False, help="Write them into this folder instead, such as /etc/cdi."),
    ] = None,
) -> None:
    """Print the CDI specs of the devices of this host, as JSON, one document for each resource; or write them into a folder.

    `podman run --device furiosa.ai/npu=ID` then gives a container what a pod would get. The devices are those of the configuration,
    looked for now; a running agent writes its own where `cdi.handover` says so.
    """
    import asyncio
    import json

    from npu_agent.agent import cdi_specs
    from npu_agent.cdi.folder import write as written
    from npu_agent.core.errors import NpuAgentError

    try:
        configuration = asyncio.run(paths.configuration(config, backend, host_root))
        asked = paths.pod_resources(pod_resources, kubelet_dir)
        specs = asyncio.run(cdi_specs(configuration, host_root=host_root, pod_resources=asked))
    except NpuAgentError as error:
        exits.note(str(error))
        raise typer.Exit(error.exit_status) from None
    if not specs:
        exits.note("there is no device to write a spec of; npu-agent list says what there is")
    for name, spec in specs.items():
        if write is None:
            exits.output(json.dumps(spec, indent=2))
            continue
        try:
            written(write, name, spec)
        except OSError as error:
            exits.failure(f"{write / name} cannot be written: {error.strerror}")
        exits.output(str(write / name))

"""Servers that people run on accelerators, really started and really asked: JupyterLab and an inference server."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from tests.cluster import example_images
from tests.cluster.agent import Agent
from tests.cluster.cluster import Cluster
from tests.cluster.devices import held
from tests.cluster.examples import apply_example
from tests.cluster.web import Web

_STARTS_WITHIN_S = 120
TOKEN = "a-token-of-the-tests"
CELL = """
from pathlib import Path
for path in sorted(Path("/dev/rngd").iterdir()):
    with path.open("r+b", buffering=0):
        print(path)
"""


@asynccontextmanager
async def serving(cluster: Cluster, namespace: str, name: str, example: str, image: str) -> AsyncIterator[Web]:
    """Have the deployment `name` of an example run with the image that its Containerfile makes, and yield how to ask it."""
    await cluster.npu_node.import_image(await asyncio.to_thread(example_images.built, example))
    await apply_example(cluster, f"{example}/{example}.yaml", namespace, {image: f"localhost/{example}:latest"})
    within = f"--timeout={_STARTS_WITHIN_S}s"
    await cluster.kubectl("-n", namespace, "rollout", "status", f"deployment/{name}", within, within_s=_STARTS_WITHIN_S + 10)
    service = (await cluster.api.get(f"/api/v1/namespaces/{namespace}/services/{name}"))["spec"]
    yield Web(cluster.npu_node.first_process, (service["clusterIP"], service["ports"][0]["port"]))


async def test_an_inference_server_answers_while_it_holds_the_card_of_its_pod(cluster: Cluster, agent: Agent, namespace: str) -> None:
    async with serving(cluster, namespace, "mnist", "inference", "mnist:latest") as server:
        described = await server.ask("GET", "/v2/models/mnist/versions/1")
        assert [(row["name"], row["datatype"], row["shape"]) for row in (*described["inputs"], *described["outputs"])] == [
            ("image", "INT32", [1, 1, 28, 28]),
            ("scores", "UINT8", [1, 10]),
        ]
        sample = json.loads(await cluster.kubectl("-n", namespace, "exec", "deployment/mnist", "--", "cat", "sample.json"))
        answer = await server.ask("POST", "/v2/models/mnist/versions/1/infer", sample)
        (output,) = answer["outputs"]
        assert (output["datatype"], output["shape"]) == ("UINT8", [1, 10])
        assert output["data"].index(max(output["data"])) == int(sample["id"])
        opened = await _opened(cluster, namespace, "mnist", "mlserver")
        ((uuid,),) = (await held(cluster.npu_node, namespace)).values()
        assert opened >= set(cluster.cards.cards[uuid].nodes)


async def test_jupyterlab_runs_a_cell_that_opens_the_card_of_its_pod(cluster: Cluster, agent: Agent, namespace: str) -> None:
    await cluster.kubectl("-n", namespace, "create", "secret", "generic", "jupyterlab", f"--from-literal=token={TOKEN}")
    async with serving(cluster, namespace, "jupyterlab", "jupyterlab", "jupyterlab:latest") as server:
        known = replace(server, headers={"Authorization": f"token {TOKEN}"})
        with pytest.raises(AssertionError, match="403"):
            await server.ask("GET", "/api/kernels")
        kernel = (await known.ask("POST", "/api/kernels", {"name": "python3"}))["id"]
        printed = await known.run_cell(kernel, CELL)
        ((uuid,),) = (await held(cluster.npu_node, namespace)).values()
        assert set(printed.split()) == set(cluster.cards.cards[uuid].nodes)


async def _opened(cluster: Cluster, namespace: str, deployment: str, container: str) -> set[str]:
    """Return what the processes of a container have open below /dev."""
    program = "import glob, os; print(*{os.readlink(link) for link in glob.glob('/proc/[0-9]*/fd/*') if os.path.lexists(link)})"
    said = await cluster.kubectl("-n", namespace, "exec", f"deployment/{deployment}", "-c", container, "--", "python3", "-c", program)
    return {path for path in said.split() if path.startswith("/dev/")}

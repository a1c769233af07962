"""What the chart is rendered to, checked by the API server itself: every field of every object, whatever the values."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.chart.rendering import CHART, Chart
from tests.chart.test_values import EXAMPLES, NEEDED, nested
from tests.cluster.cluster import Cluster

MANIFESTS = sorted((CHART.parents[1] / "manifests").glob("*.yaml"))


async def dry_run(cluster: Cluster, *objects: Any) -> list[str]:
    """Have the API server check and admit objects and keep none; return what kubectl says of each."""
    said = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    return (await cluster.kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", said=said)).splitlines()


async def test_the_api_server_takes_what_any_value_is_rendered_to(cluster: Cluster, namespace: str, kubernetes: str) -> None:
    chart = Chart(cluster.programs / "helm")
    rendered = {}
    for path, value in EXAMPLES.items():
        if path == "namespaceOverride" or path.startswith("openshift."):
            continue  # there is no such namespace, and no such kind
        values = nested({**NEEDED.get(path, {}), path: value})
        for item in chart.render(values, "--namespace", namespace, "--kube-version", kubernetes).objects:
            rendered[json.dumps(item, sort_keys=True)] = item
    assert len(await dry_run(cluster, *rendered.values())) == len(rendered)


@pytest.mark.parametrize("manifest", MANIFESTS, ids=lambda path: path.name)
async def test_the_api_server_takes_the_manifests(cluster: Cluster, manifest: Path) -> None:
    objects = [item for item in yaml.safe_load_all(manifest.read_text()) if item]
    assert len(await dry_run(cluster, *objects)) == len(objects)

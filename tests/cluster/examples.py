"""The examples of docs/examples as the tests apply them: word for word, but for the images, which no registry is asked for."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.cluster import Cluster
from tests.e2e import image

FOLDER = Path(__file__).parents[2] / "docs" / "examples"


def example(name: str, namespace: str, images: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Return the objects of `docs/examples/NAME` in `namespace`, whose images are replaced by those of `images` or by busybox."""
    objects = list(yaml.safe_load_all((FOLDER / name).read_text(encoding="utf-8")))
    for found in objects:
        found["metadata"]["namespace"] = namespace
        _replace_images(found, images or {})
    return objects


async def apply_example(cluster: Cluster, name: str, namespace: str, images: Mapping[str, str] | None = None) -> None:
    """Make the objects of an example in `namespace`."""
    await cluster.apply(*example(name, namespace, images))


def _replace_images(data: Any, images: Mapping[str, str]) -> None:
    if isinstance(data, list):
        for item in data:
            _replace_images(item, images)
    elif isinstance(data, dict):
        if isinstance(data.get("image"), str):
            data["image"] = images.get(data["image"], image.REFERENCE)
            data["imagePullPolicy"] = "Never"
        for item in data.values():
            _replace_images(item, images)

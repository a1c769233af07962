"""Writes what the image is made of as a CycloneDX document, for those who look for what is known of the parts.

Everything in it is from the inventory of the build (container/contents.py, container/rootfs.py): the distributions that were taken along,
each with the digest of the file that was fetched, Python, and the packages of the C library and of every other shared library.
"""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

NAME = "npu-agent-image.cdx.json"
SPECIFICATION = "1.5"


def document(inventory: dict[str, Any], *, version: str, digest: str, created: str) -> dict[str, Any]:
    """Return the document of the image `digest` (`sha256:…`) of the agent's `version`, made at `created` (RFC 3339).

    The same image has the same document.
    """
    components = [*_distributions(inventory), _python(inventory), *_packages(inventory)]
    agent = {
        "type": "container",
        "bom-ref": f"npu-agent@{version}",
        "name": "npu-agent",
        "version": version,
        "purl": f"pkg:oci/npu-agent@{quote(digest, safe='')}",
        "hashes": [{"alg": "SHA-256", "content": digest.removeprefix("sha256:")}],
        "licenses": [{"license": {"id": "Apache-2.0"}}],
    }
    return {
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, digest).urn,
        "version": 1,
        "metadata": {"timestamp": created, "component": agent},
        "components": components,
        "dependencies": [
            {"ref": agent["bom-ref"], "dependsOn": [component["bom-ref"] for component in components]},
            *({"ref": component["bom-ref"]} for component in components),
        ],
    }


def write(path: Path, content: dict[str, Any]) -> None:
    """Write the document for people and machines."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _distributions(inventory: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for name, installed in inventory["distributions"].items():
        component = _component(name, installed["version"], f"pkg:pypi/{name}@{installed['version']}")
        if "sha256" in installed:
            component["hashes"] = [{"alg": "SHA-256", "content": installed["sha256"]}]
        yield component


def _python(inventory: dict[str, Any]) -> dict[str, Any]:
    return _component("python", inventory["python"], f"pkg:generic/python@{inventory['python']}")


def _packages(inventory: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the packages of libraries, and libraries that no package has by their names alone."""
    files: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for file, package in sorted(inventory["libraries"].items()):
        files.setdefault(tuple(package.items()) or (("file", file),), []).append(file)
    for described, libraries in files.items():
        package = dict(described)
        if "file" in package:
            yield {"type": "library", "bom-ref": f"file:{package['file']}", "name": Path(package["file"]).name}
            continue
        name, version, distribution = package["package"], package["version"], package["distribution"]
        url = f"pkg:deb/{distribution}/{name}@{quote(version, safe='')}?arch={package['architecture']}"
        component = _component(name, version, url)
        component["properties"] = [{"name": "file", "value": library} for library in libraries]
        yield component


def _component(name: str, version: str, url: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": url, "name": name, "version": version, "purl": url}

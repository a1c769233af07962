"""Specs: what is in them, under which names, and that every runtime takes them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.cdi.spec import annotation_of, file_of, kind_of, qualified, spec_of
from npu_agent.core.accelerator import ContainerEdits, DeviceNode, Mount

CARD = ContainerEdits(
    (DeviceNode("/dev/rngd/npu0mgmt", "/dev/rngd/npu0mgmt"), DeviceNode("/dev/npu7", "/dev/npu0", permissions="r")),
    (Mount("/opt/driver/lib", "/usr/lib/driver"), Mount("/var/cache/npu", "/cache", read_only=False)),
    environment=(("NPU", "0"),),
    annotations=(("a", "b"),),
)


def test_a_device_is_its_nodes_and_mounts() -> None:
    assert spec_of("furiosa.ai/npu", {"b": CARD, "a": ContainerEdits()}) == {
        "cdiVersion": "0.5.0",
        "kind": "furiosa.ai/npu",
        "devices": [
            {"name": "a", "containerEdits": {}},
            {
                "name": "b",
                "containerEdits": {
                    "deviceNodes": [
                        {"path": "/dev/rngd/npu0mgmt", "permissions": "rw"},
                        {"path": "/dev/npu0", "permissions": "r", "hostPath": "/dev/npu7"},
                    ],
                    "mounts": [
                        {"hostPath": "/opt/driver/lib", "containerPath": "/usr/lib/driver", "options": ["rbind", "nosuid", "nodev", "ro"]},
                        {"hostPath": "/var/cache/npu", "containerPath": "/cache", "options": ["rbind", "nosuid", "nodev", "rw"]},
                    ],
                },
            },
        ],
    }


def test_without_a_device_there_is_no_spec() -> None:
    assert spec_of("furiosa.ai/npu", {}) is None


@pytest.mark.parametrize(
    ("resource", "kind", "version"),
    [
        ("furiosa.ai/npu", "furiosa.ai/npu", "0.5.0"),
        ("furiosa.ai/rngd-2core", "furiosa.ai/rngd-2core", "0.5.0"),
        ("example.com/npu.shared", "example.com/npu.shared", "0.6.0"),
        ("3com.example/4core", "r-3com.example/r-4core", "0.5.0"),
    ],
)
def test_a_kind_is_the_name_of_the_resource_as_far_as_cdi_takes_it(resource: str, kind: str, version: str) -> None:
    spec = spec_of(resource, {"a": CARD})
    assert spec is not None
    assert (spec["kind"], spec["cdiVersion"]) == (kind, version)
    assert qualified(resource, "a") == f"{kind}=a"


_NAME = st.from_regex(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?", fullmatch=True)
_DOMAIN = st.from_regex(r"[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?(\.[a-z0-9]([-a-z0-9]{0,20}[a-z0-9])?){1,3}", fullmatch=True)


@given(_DOMAIN, _NAME)
def test_every_resource_has_a_kind_a_file_and_an_annotation_that_are_taken(domain: str, name: str) -> None:
    """The rules are those of CDI's SPEC.md ("kind") and of Kubernetes for the keys of annotations."""
    resource = f"{domain}/{name}"
    vendor, _, of_class = kind_of(resource).partition("/")
    for part in (vendor, of_class):
        assert re.fullmatch(r"[A-Za-z]([A-Za-z0-9_.-]*[A-Za-z0-9])?", part)
    assert re.fullmatch(r"npu-agent-[A-Za-z0-9_.-]+\.json", file_of(resource))
    assert len(file_of(resource)) <= 255
    key = annotation_of(resource).removeprefix("cdi.k8s.io/")
    assert len(key) <= 63
    assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_.-]*[A-Za-z0-9])?", key)

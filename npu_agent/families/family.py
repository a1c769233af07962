"""Family descriptions: what a model line of accelerators looks like in sysfs and `/dev`, as data. docs/backends.md shows whole files."""

from typing import Annotated

import msgspec

from npu_agent.core.model_line import LabelRule, Product
from npu_agent.core.rules import Check
from npu_agent.families.containers import Mount, Node
from npu_agent.families.finding import ClassEntries, Identity, Pci
from npu_agent.families.health import HealthRule
from npu_agent.families.texts import Attribute, Text, Values, cdi_device_mistake, empty_mistake, name_mistake


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A model line of accelerators."""

    name: Annotated[str, Check(name_mistake)]
    pci: Pci | None = None
    entries: ClassEntries = msgspec.field(name="class")
    identity: Identity = Identity()
    health: list[HealthRule] = []
    nodes: Annotated[list[Node], Check(empty_mistake)]
    partitions: dict[str, dict[str, Values]] = {}
    """For each kind of part its parts, and for each part the values of `each` whose divided nodes it gets."""
    labels: dict[str, Attribute] = {}
    """What else to tell of a card, and the attribute that says it."""
    product: Product = Product()
    node_labels: list[LabelRule] = []
    """Labels of nodes with such cards, beside those that every family has."""
    mounts: list[Mount] = []
    environment: dict[str, Text] = {}
    annotations: dict[str, Text] = {}
    """Annotations of the container, which CRI-O and containerd hand on to hooks and runtimes."""
    cdi_devices: list[Annotated[str, Check(cdi_device_mistake)]] = []
    """Whole names of CDI devices that the runtime is to inject."""

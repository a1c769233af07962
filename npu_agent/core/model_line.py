"""What is said of a whole model line of accelerators: facts of its data sheet, and which facts nodes with such cards are labelled with."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from npu_agent.core.rules import ONE_OR_MANY, Check

FACTS = ("family", "product", "architecture", "memory-gib", "cores", "count", "driver", "firmware", "ids", "numa-nodes", "partitions")
"""What is known of every card, beside the attributes that its family names."""

NUMBERS = ("memory-gib", "cores", "count")
"""The facts that can be added up."""

_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*")
_OF_KUBERNETES = ("kubernetes.io", "k8s.io")


def is_label_name(text: str) -> bool:
    """Return whether `text` can be the name of a label, without a domain; a value of a label follows the same rule or is empty."""
    return _NAME.fullmatch(text) is not None


def domain_mistake(text: str) -> str:
    """Return what is wrong with the domain of labels, empty if nothing is."""
    if not _DOMAIN.fullmatch(text) or len(text) > 253:
        return f"expected a domain such as npu-agent.io, got {text[:60]!r}"
    if any(text == own or text.endswith(f".{own}") for own in _OF_KUBERNETES):
        return "labels of this domain belong to Kubernetes; use a domain of your own"
    return ""


def label_key_mistake(text: str) -> str:
    """Return what is wrong with a label's key, `NAME` or `DOMAIN/NAME`, empty if nothing is.

    Keys below kubernetes.io and k8s.io are Kubernetes' own (labels-annotations-taints.md), and NFD refuses them.
    """
    domain, separator, name = text.rpartition("/")
    if not is_label_name(name):
        return f"expected NAME or DOMAIN/NAME with a name of at most 63 letters, digits, '-', '_' and '.', got {text[:60]!r}"
    return domain_mistake(domain) if separator else ""


def _keys_mistake(keys: Sequence[str]) -> str:
    return "" if keys else "expected a key or a list of keys, got an empty list"


class Product(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the vendor's data sheet says of every card of the line. What is absent is not told."""

    name: Annotated[str, Meta(description="what the data sheet calls each card")] = ""
    architecture: Annotated[str, Meta(description="its architecture")] = ""
    memory_gib: Annotated[int, Meta(ge=0, description="whole GiB of memory of each card")] = 0
    cores: Annotated[int, Meta(ge=0, description="cores of each card")] = 0


NO_PRODUCT = Product()
"""Of which nothing is told."""


class LabelRule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Labels that say one fact. A key without a domain is one of the agent's own, PREFIX/FAMILY.KEY.

    With `split` a version is told whole and in its parts: KEY, KEY.major, KEY.minor, KEY.patch, KEY.prerelease, KEY.metadata. `mixed`
    says what becomes of the label where the cards of the node differ: it is left out, or has the sum, or all values.
    """

    fact: Annotated[str, Meta(description=f"what they say: {', '.join(FACTS)}, `model`, or a name of `labels`")]
    keys: Annotated[
        tuple[Annotated[str, Check(label_key_mistake)], ...],
        ONE_OR_MANY,
        Check(_keys_mistake),
        Meta(description="one key or a list; one without a domain is one of the agent's own, `npu-agent.io/FAMILY.KEY`"),
    ]
    split: Annotated[
        bool,
        Meta(description="whether a version is told in its parts too: `KEY.major`, `.minor`, `.patch`, `.prerelease`, `.metadata`"),
    ] = False
    mixed: Annotated[
        Literal["omit", "sum", "join"],
        Meta(description="where the cards of a node differ: `omit` the label, the `sum`, or `join` all with `_`"),
    ] = "omit"


GENERIC = (
    LabelRule(fact="product", keys=("product",)),
    LabelRule(fact="architecture", keys=("architecture",)),
    LabelRule(fact="count", keys=("count",), mixed="sum"),
    LabelRule(fact="memory-gib", keys=("memory-gib",)),
    LabelRule(fact="cores", keys=("cores",)),
    LabelRule(fact="driver", keys=("driver.version",), split=True),
    LabelRule(fact="firmware", keys=("firmware.version",), split=True),
    LabelRule(fact="ids", keys=("ids",), mixed="join"),
    LabelRule(fact="numa-nodes", keys=("numa-nodes",), mixed="join"),
    LabelRule(fact="partitions", keys=("partitions",), mixed="join"),
)
"""What nodes are labelled with for cards of every family, and for each of the family's attributes a label of its name."""


@dataclass(frozen=True, slots=True)
class ModelLine:
    """What all cards of one family share. One value serves all of them."""

    product: Product = NO_PRODUCT
    labels: tuple[LabelRule, ...] = ()


UNDESCRIBED = ModelLine()
"""Of cards of which nobody says more."""

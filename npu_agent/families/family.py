"""Family descriptions: what a model line of accelerators looks like on a host, as data. docs/backends.md shows whole files."""

from typing import Annotated

import msgspec
from msgspec import Meta

from npu_agent.core.model_line import LabelRule, Product
from npu_agent.core.rules import ONE_OR_MANY, Check
from npu_agent.families.activity import Activity
from npu_agent.families.attributes import Said
from npu_agent.families.containers import Mount, Node
from npu_agent.families.finding import ClassEntries, Identity, Model, Pci
from npu_agent.families.health import HealthRule
from npu_agent.families.texts import Text, Values, cdi_device_mistake, empty_mistake, name_mistake


class Family(msgspec.Struct, frozen=True, kw_only=True):
    """A model line of accelerators."""

    name: Annotated[
        str,
        Check(name_mistake),
        Meta(description="the family's name. A file of yours with the name of a family that ships replaces it"),
    ]
    title: Annotated[Text, Meta(description="what people call it, for tables")] = ""
    experimental: Annotated[Text, Meta(description="why the description may be wrong, which is told of each card")] = ""
    seen_on_hardware: Annotated[bool, Meta(description="whether somebody has seen it work on a real card")] = False
    sources: Annotated[list[Text], Meta(description="where its facts come from")] = []
    pci: Annotated[Pci, Meta(description="which PCI functions are its cards; left out for cards that are not on PCI")] | None = None
    entries: Annotated[
        tuple[ClassEntries, ...],
        ONE_OR_MANY,
        Meta(
            description="where the driver shows its cards; of several that show one card the first has it. Left out, the PCI functions"
            " themselves are the cards"
        ),
    ] = msgspec.field(name="class", default=())
    index: Annotated[Said, Meta(description="what says the number of a card, where the name of its entry does not")] | None = None
    found: Annotated[
        dict[str, Said], Meta(description="further placeholders, each with what says its value, such as `render: pci:drm/renderD*`")
    ] = {}
    models: Annotated[list[Model], Meta(description="the models of the line, of which a card is the first that fits")] = []
    identity: Annotated[Identity, Meta(description="which attributes say what a card is")] = Identity()
    health: Annotated[
        list[HealthRule], Meta(description="rules, all of which must be good; without any, a card is healthy while it is there")
    ] = []
    nodes: Annotated[list[Node], Check(empty_mistake), Meta(description="the device nodes that a container gets")]
    partitions: Annotated[
        dict[str, dict[str, Values]],
        Meta(description="kinds of part (`2core`), the parts of each (`pe0-1`), and for each part the values of `each` that it gets"),
    ] = {}
    offered: (
        Annotated[
            Said,
            Meta(
                description="what says for which values of `each` a card is set up, between commas or spaces; it has no parts with others"
            ),
        ]
        | None
    ) = None
    labels: Annotated[dict[str, Said], Meta(description="what else to tell of a card: a name, and what says the value")] = {}
    product: Annotated[Product, Meta(description="what the data sheet says of each card")] = Product()
    node_labels: Annotated[
        list[LabelRule], Meta(description="labels of nodes with such cards, beside those that every family has ([labels.md](labels.md))")
    ] = []
    mounts: Annotated[list[Mount], Meta(description="files and folders of the host that a container gets")] = []
    environment: Annotated[
        dict[str, Text], Meta(description="variables; a container with several devices gets their values joined with commas")
    ] = {}
    annotations: Annotated[
        dict[str, Text], Meta(description="annotations of the container, for hooks of its runtime; filled in and joined like `environment`")
    ] = {}
    cdi_devices: Annotated[
        list[Annotated[str, Check(cdi_device_mistake)]],
        Meta(description="whole names of CDI devices (`example.com/npu={index}`) that the runtime injects, filled in like `environment`"),
    ] = []
    activity: Annotated[list[Activity], Meta(description="numbers that say what the card does")] = []

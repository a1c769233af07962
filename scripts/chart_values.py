"""The values of the Helm chart: what each is, what it may be and its default. Everything else that says so is made from this file."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(min_length=1)]
Absolute = Annotated[str, Meta(pattern=r"^/[^\s:]*[^\s:/]$")]
"""A folder other than the root; a colon would end it in a mount."""
Cpu = Annotated[str, Meta(pattern=r"^([0-9]+(\.[0-9]+)?m?)?$")] | float
Memory = Annotated[str, Meta(pattern=r"^([0-9]+(\.[0-9]+)?(k|Ki|M|Mi|G|Gi)?)?$")] | int
LabelKey = Annotated[str, Meta(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")]
Prefix = Annotated[str, Meta(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")]
Name = Annotated[str, Meta(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")]
"""A name of Kubernetes, or nothing."""


class Section(msgspec.Struct, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """Values that belong together."""


def described(text: str) -> Meta:
    """Return the mark that says what a value is."""
    return Meta(description=text)


class Image(Section):
    """Where an image comes from."""

    repository: Annotated[
        Text, described("the image without its tag, as `make image` names it; push it to where your nodes can fetch it")
    ] = "localhost/npu-agent"
    tag: Annotated[str, described("its tag, also with a digest (`0.1.0@sha256:…`); the chart's appVersion if empty")] = ""
    pull_policy: Annotated[Literal["Always", "IfNotPresent", "Never"], described("when kubelet fetches it")] = "IfNotPresent"


class PullSecret(Section):
    """A Secret of the namespace."""

    name: Annotated[Text, described("its name")]


class Config(Section):
    """The agent's configuration, as the page docs/configuration.md of the project has it."""

    name: Annotated[
        Name,
        described("a ConfigMap of yours with a key `config.yaml`, instead of `config.data`; restart the pods when it changes"),
    ] = ""
    data: Annotated[
        dict[str, Any],
        described("the configuration (docs/configuration.md) without `cluster`, which is below; pods are replaced when it changes"),
    ] = {}


class Taint(Section):
    """A taint on the nodes that carry cards."""

    enabled: Annotated[bool, described("whether such nodes get it; pods that ask for cards must tolerate it then")] = False
    key: Annotated[LabelKey, described("its key")] = "furiosa.ai/npu"
    value: Annotated[Annotated[str, Meta(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$")], described("its value")] = (
        "exclusive"
    )
    effect: Annotated[Literal["NoSchedule", "PreferNoSchedule", "NoExecute"], described("what it does to pods that do not tolerate it")] = (
        "NoSchedule"
    )


class Cluster(Section):
    """What the agent tells the cluster about its node. With any of it on, the pods have a token of their ServiceAccount."""

    labels: Annotated[
        Literal["off", "apply", "nfd-file", "node-feature"],
        described(
            "how labels about the cards come to the node: not at all, by the agent itself (`get` and `patch` of nodes),"
            " by a file for NFD's worker, or by a NodeFeature object for NFD's master"
        ),
    ] = "off"
    prefix: Annotated[Prefix, described("the prefix of the labels that are the same for all vendors; the agent's own default if empty")] = (
        ""
    )
    domains: Annotated[
        list[Annotated[str, Meta(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")]],
        described(
            "the domains of the vendors' labels; beside `prefix` and `npu-agent.io` an agent may change none of any other domain,"
            " so add those of family files of your own"
        ),
    ] = msgspec.field(default_factory=lambda: ["furiosa.ai", "beta.furiosa.ai"])
    nfd_folder: Annotated[Absolute, described("the folder of NFD's feature files on the host, for `nfd-file`")] = (
        "/etc/kubernetes/node-feature-discovery/features.d"
    )
    taint: Taint = msgspec.field(default_factory=Taint)


class Http(Section):
    """The agent's HTTP server, which the probes ask."""

    enabled: Annotated[bool, described("whether the agent serves `/healthz` and `/readyz`, and the pods have probes")] = True
    port: Annotated[Annotated[int, Meta(ge=1024, le=65535)], described("its port on the pod's address, not on the node's")] = 9400


class Log(Section):
    """The agent's log."""

    level: Annotated[Literal["debug", "info", "warning", "error"], described("what is logged, from this level on")] = "info"
    format: Annotated[Literal["text", "json"], described("lines for people or JSON for machines")] = "text"


class Kubelet(Section):
    """Two folders of kubelet's on the host. They differ on some distributions."""

    root_path: Annotated[
        Absolute,
        described("kubelet's `--root-dir`, which has `pod-resources`; on k0s it is `/var/lib/k0s/kubelet`"),
    ] = "/var/lib/kubelet"
    device_plugins_path: Annotated[
        Absolute, described("the folder in which kubelet looks for device plugins; it stays there where the root is elsewhere")
    ] = "/var/lib/kubelet/device-plugins"


class Nfd(Section):
    """Node Feature Discovery as the one that finds the nodes. The agent does not need it."""

    enabled: Annotated[bool, described("run on nodes only that NFD has seen a card on; without NFD that is no node at all")] = False
    node_labels: Annotated[
        list[LabelKey],
        described("labels of NFD, of which a node must have one that is `true`; NFD may be configured to tell the class or not"),
    ] = msgspec.field(
        default_factory=lambda: ["feature.node.kubernetes.io/pci-1200_1ed2.present", "feature.node.kubernetes.io/pci-1ed2.present"]
    )


class Toleration(Section):
    """A taint that the pods do not mind."""

    key: Annotated[str, described("the taint's key; all if empty")] = ""
    operator: Annotated[Literal["Exists", "Equal"], described("how the value is compared")] = "Equal"
    value: Annotated[str, described("the taint's value, for `Equal`")] = ""
    effect: Annotated[Literal["", "NoSchedule", "PreferNoSchedule", "NoExecute"], described("the taint's effect; all if empty")] = ""
    toleration_seconds: Annotated[int | None, described("for how long `NoExecute` is tolerated; without an end if absent")] = None


class RollingUpdate(Section):
    """How far an update may go at once."""

    max_unavailable: Annotated[
        Annotated[int, Meta(ge=1)] | Annotated[str, Meta(pattern=r"^([1-9][0-9]?|100)%$")],
        described(
            "nodes, or a share of them such as `10%`, whose agent may be away at once; one that does not become ready stops the update"
        ),
    ] = 1
    max_surge: Annotated[
        Literal[0], described("0 and nothing else: there is one agent for each kubelet, and a second one would not start")
    ] = 0


class UpdateStrategy(Section):
    """How the pods are replaced when something changes."""

    type: Annotated[Literal["RollingUpdate", "OnDelete"], described("by and by, or each when somebody deletes the old one")] = (
        "RollingUpdate"
    )
    rolling_update: RollingUpdate = msgspec.field(default_factory=RollingUpdate)


class Requests(Section):
    """What the scheduler sets aside."""

    cpu: Annotated[Cpu, described("processor time that is set aside; none if empty")] = "10m"
    memory: Annotated[Memory, described("memory that is set aside; none if empty")] = "48Mi"


class Limits(Section):
    """What the agent may use at the most."""

    cpu: Annotated[
        Cpu, described("processor time at the most; none if empty: a limit would make pods wait that are given a card just then")
    ] = ""
    memory: Annotated[Memory, described("memory at the most; none if empty; the agent is killed beyond it")] = "128Mi"


class Resources(Section):
    """What the agent is given of its node, from measurements (README.md, How fast, how small)."""

    requests: Requests = msgspec.field(default_factory=Requests)
    limits: Limits = msgspec.field(default_factory=Limits)


class ServiceAccount(Section):
    """Who the pods are for the API server."""

    create: Annotated[bool, described("whether the chart makes the ServiceAccount")] = True
    name: Annotated[Name, described("its name; the release's if empty and made, `default` if empty and not made")] = ""
    annotations: Annotated[dict[str, str], described("its annotations")] = {}


class SecurityExceptions(Section):
    """What the pods may beyond the little that they need. Each is off, and stands for a backend that needs it."""

    make_device_nodes: Annotated[
        bool,
        described(
            "the capability MKNOD and `/run/npu-agent` of the host, where the fake backend's `device_folder` can be: to try things out"
        ),
    ] = False
    capabilities: Annotated[
        list[Annotated[str, Meta(pattern=r"^[A-Z][A-Z_]*$")]],
        described("further capabilities, such as `SYS_ADMIN`, for a backend of others whose library needs them"),
    ] = msgspec.field(default_factory=list)
    privileged: Annotated[
        bool,
        described("a privileged container, for a backend of others that opens device nodes: the device cgroup refuses that to all others"),
    ] = False


class SeLinux(Section):
    """SELinux of the container."""

    type: Annotated[
        str,
        Meta(pattern=r"^[a-z0-9_]*$"),
        described("the SELinux type, such as `container_device_plugin_t`; the runtime's own if empty, as not every node knows that type"),
    ] = ""


class OpenShift(Section):
    """What OpenShift needs."""

    scc: Annotated[bool, described("whether the chart makes a SecurityContextConstraints that allows the pods what they need")] = False


class Cleanup(Section):
    """What is taken away when the release is uninstalled."""

    enabled: Annotated[
        bool,
        described("whether a Job takes our labels, annotations and taints off all nodes before the release goes; only with `cluster` on"),
    ] = True


class TestImage(Section):
    """The image of `helm test`."""

    repository: Annotated[str, described("an image to run with a card; the agent's own if empty")] = ""
    tag: Annotated[str, described("its tag")] = ""
    pull_policy: Annotated[Literal["Always", "IfNotPresent", "Never"], described("when kubelet fetches it")] = "IfNotPresent"


class Test(Section):
    """`helm test`: a Job that asks for one device."""

    resource: Annotated[
        str,
        Meta(pattern=r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$"),
        described("the resource to ask for; the first one of the configuration if empty"),
    ] = ""
    image: TestImage = msgspec.field(default_factory=TestImage)
    command: Annotated[list[str], described("what to run in it; `npu-agent version` if empty")] = msgspec.field(default_factory=list)


class Notes(Section):
    """What is told after installing."""

    lookup: Annotated[bool, described("whether nodes are counted that match; false where you may not list nodes")] = True


class Values(Section):
    """The values of the chart."""

    image: Image = msgspec.field(default_factory=Image)
    image_pull_secrets: Annotated[list[PullSecret], described("Secrets to fetch the image with, as in `[{name: registry}]`")] = (
        msgspec.field(default_factory=list)
    )
    name_override: Annotated[Name, described("the name of the chart in labels and names")] = ""
    fullname_override: Annotated[Name, described("the name of all objects")] = ""
    namespace_override: Annotated[Name, described("the namespace of all objects, where it is not the release's")] = ""
    config: Config = msgspec.field(default_factory=Config)
    cluster: Cluster = msgspec.field(default_factory=Cluster)
    http: Http = msgspec.field(default_factory=Http)
    log: Log = msgspec.field(default_factory=Log)
    kubelet: Kubelet = msgspec.field(default_factory=Kubelet)
    runtime_path: Annotated[
        Absolute,
        described("the agent's folder on the host: its lock, its socket, and what it remembers of given devices, which must outlast a pod"),
    ] = "/run/npu-agent"
    node_selector: Annotated[dict[str, str], described("labels that a node must have")] = msgspec.field(
        default_factory=lambda: {"kubernetes.io/os": "linux"}
    )
    affinity: Annotated[dict[str, Any], described("the pods' affinity")] = {}
    nfd: Nfd = msgspec.field(default_factory=Nfd)
    tolerations: Annotated[
        list[Toleration],
        described("taints that the pods do not mind; all by default, so that none keeps the agent away from a node with cards"),
    ] = msgspec.field(default_factory=lambda: [Toleration(operator="Exists")])
    priority_class_name: Annotated[Name, described("the pods' priority; pods with cards must not push the agent off the node")] = (
        "system-node-critical"
    )
    update_strategy: UpdateStrategy = msgspec.field(default_factory=UpdateStrategy)
    resources: Resources = msgspec.field(default_factory=Resources)
    pod_annotations: Annotated[dict[str, str], described("further annotations of the pods")] = {}
    pod_labels: Annotated[dict[str, str], described("further labels of the pods")] = {}
    service_account: ServiceAccount = msgspec.field(default_factory=ServiceAccount)
    security_exceptions: SecurityExceptions = msgspec.field(default_factory=SecurityExceptions)
    se_linux: SeLinux = msgspec.field(default_factory=SeLinux)
    openshift: OpenShift = msgspec.field(default_factory=OpenShift)
    extra_volumes: Annotated[list[dict[str, Any]], described("further volumes of the pods, for family descriptions of your own, say")] = (
        msgspec.field(default_factory=list)
    )
    extra_volume_mounts: Annotated[list[dict[str, Any]], described("where the agent sees them")] = msgspec.field(default_factory=list)
    cleanup: Cleanup = msgspec.field(default_factory=Cleanup)
    test: Test = msgspec.field(default_factory=Test)
    notes: Notes = msgspec.field(default_factory=Notes)
    global_: Annotated[dict[str, Any], described("what Helm hands to a chart below another one; nothing here reads it")] = msgspec.field(
        name="global", default_factory=dict
    )

"""Every value does something, and does what it says."""

import re
from typing import Any

import pytest

from npu_agent.config.cluster import ClusterSettings, NodeTaint
from npu_agent.config.reading import parse
from tests.chart.rendering import CHART, Chart, Refused

DOCUMENTED = re.findall(r"^\| `([a-zA-Z.]+)` \|", (CHART / "README.md").read_text(), re.MULTILINE)

EXAMPLES: dict[str, Any] = {
    "image.repository": "registry.example.org/npu-agent",
    "image.tag": "0.1.0@sha256:" + "a" * 64,
    "image.pullPolicy": "Always",
    "imagePullSecrets": [{"name": "registry"}],
    "nameOverride": "agent",
    "fullnameOverride": "agent",
    "namespaceOverride": "accelerators",
    "config.name": "mine",
    "config.data": {"probe_interval_s": 0.5},
    "cluster.labels": "apply",
    "cluster.prefix": "npu.example.org",
    "cluster.domains": ["npu.example.org"],
    "cluster.nfdFolder": "/etc/nfd",
    "cluster.taint.enabled": True,
    "cluster.taint.key": "npu.example.org/taken",
    "cluster.taint.value": "yes",
    "cluster.taint.effect": "NoExecute",
    "http.enabled": False,
    "http.port": 9500,
    "log.level": "debug",
    "log.format": "json",
    "kubelet.rootPath": "/var/lib/k0s/kubelet",
    "kubelet.devicePluginsPath": "/data/kubelet/device-plugins",
    "runtimePath": "/var/run/npu-agent",
    "nodeSelector": {"node.example.org/npu": "yes"},
    "affinity": {"podAffinity": {}},
    "nfd.enabled": True,
    "nfd.nodeLabels": ["feature.node.kubernetes.io/pci-1eff.present"],
    "tolerations": [{"key": "npu", "operator": "Exists"}],
    "priorityClassName": "mine",
    "updateStrategy.type": "OnDelete",
    "updateStrategy.rollingUpdate.maxUnavailable": "10%",
    "updateStrategy.rollingUpdate.maxSurge": 0,
    "resources.requests.cpu": 1,
    "resources.requests.memory": "64Mi",
    "resources.limits.cpu": "500m",
    "resources.limits.memory": "1Gi",
    "podAnnotations": {"a": "b"},
    "podLabels": {"a": "b"},
    "serviceAccount.create": False,
    "serviceAccount.name": "mine",
    "serviceAccount.annotations": {"a": "b"},
    "securityExceptions.makeDeviceNodes": True,
    "securityExceptions.capabilities": ["SYS_ADMIN"],
    "securityExceptions.privileged": True,
    "seLinux.type": "container_device_plugin_t",
    "openshift.scc": True,
    "extraVolumes": [{"name": "families", "configMap": {"name": "families"}}],
    "extraVolumeMounts": [{"name": "families", "mountPath": "/etc/families"}],
    "cleanup.enabled": False,
    "test.resource": "furiosa.ai/rngd",
    "test.image.repository": "busybox",
    "test.image.tag": "1.37",
    "test.image.pullPolicy": "Always",
    "test.command": ["ls", "/dev"],
    "notes.lookup": False,
    "global": {"imageRegistry": "registry.example.org"},
}
NEEDED: dict[str, dict[str, Any]] = {
    "cluster.prefix": {"cluster.labels": "apply"},
    "cluster.domains": {"cluster.labels": "apply"},
    "cluster.nfdFolder": {"cluster.labels": "nfd-file"},
    "cluster.taint.key": {"cluster.taint.enabled": True},
    "cluster.taint.value": {"cluster.taint.enabled": True},
    "cluster.taint.effect": {"cluster.taint.enabled": True},
    "nfd.nodeLabels": {"nfd.enabled": True},
    "test.image.tag": {"test.image.repository": "busybox"},
    "cleanup.enabled": {"cluster.labels": "apply"},
    "extraVolumeMounts": {"extraVolumes": [{"name": "families", "configMap": {"name": "families"}}]},
}
"""What a value does something with."""
CHANGE_NOTHING = {"updateStrategy.rollingUpdate.maxSurge", "notes.lookup", "global"}
"""One may have one value only, one is for what is told after installing, and one is other charts'."""


def nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Return values by their paths as the sections that helm takes."""
    whole: dict[str, Any] = {}
    for path, value in flat.items():
        *sections, name = path.split(".")
        section = whole
        for step in sections:
            section = section.setdefault(step, {})
        section[name] = value
    return whole


def test_every_documented_value_is_tried_here() -> None:
    assert list(EXAMPLES) == DOCUMENTED


@pytest.mark.parametrize("path", EXAMPLES)
def test_a_value_changes_what_is_rendered(chart: Chart, path: str) -> None:
    needed = NEEDED.get(path, {})
    before = chart.render(nested(needed))
    after = chart.render(nested({**needed, path: EXAMPLES[path]}))
    assert (before != after) is (path not in CHANGE_NOTHING)


def test_a_configuration_is_what_the_agent_reads_and_replaces_the_pods(chart: Chart) -> None:
    before = chart.render()
    after = chart.render({"config": {"data": {"resources": [{"name": "example.org/npu"}], "exclude": {"pci_addresses": "0000:6d:00.0"}}}})
    read = parse(after.config, "config.yaml")
    assert [spec.name for spec in read.resources] == ["example.org/npu"]
    assert read.exclude
    assert read.exclude.pci_addresses == ("0000:6d:00.0",)
    checksums = [
        rendering.one("DaemonSet")["spec"]["template"]["metadata"]["annotations"]["checksum/config"] for rendering in (before, after)
    ]
    assert len(set(checksums)) == 2


def test_a_config_map_of_ones_own_is_mounted_and_none_is_made(chart: Chart) -> None:
    rendering = chart.render({"config": {"name": "mine"}})
    assert not rendering.all_of("ConfigMap")
    assert {"name": "config", "configMap": {"name": "mine"}} in rendering.pod["volumes"]


def test_kubelets_two_folders_are_told_apart(chart: Chart) -> None:
    mounts = chart.render({"kubelet": {"rootPath": "/var/lib/k0s/kubelet"}}).mounts()
    assert mounts["/var/lib/kubelet/pod-resources"] == ("/var/lib/k0s/kubelet/pod-resources", False)
    assert mounts["/var/lib/kubelet/device-plugins"] == ("/var/lib/kubelet/device-plugins", True)


def test_a_folder_of_kubelet_that_is_not_there_is_not_made(chart: Chart) -> None:
    types = {volume["name"]: volume["hostPath"]["type"] for volume in chart.render().pod["volumes"] if "hostPath" in volume}
    assert types == {
        "device-plugins": "Directory",
        "pod-resources": "Directory",
        "runtime": "DirectoryOrCreate",
        "sys": "Directory",
        "dev": "Directory",
    }


@pytest.mark.parametrize(
    ("values", "meant"),
    [
        ({}, ClusterSettings()),
        ({"labels": False}, ClusterSettings()),
        ({"labels": "apply"}, ClusterSettings(labels="apply")),
        ({"labels": "node-feature", "prefix": "npu.example.org"}, ClusterSettings(labels="node-feature", prefix="npu.example.org")),
        ({"labels": "nfd-file", "nfdFolder": "/etc/nfd"}, ClusterSettings(labels="nfd-file", nfd_folder="/etc/nfd")),
        ({"taint": {"enabled": True}}, ClusterSettings(taint=NodeTaint())),
        ({"taint": {"enabled": True, "value": "", "effect": "NoExecute"}}, ClusterSettings(taint=NodeTaint(value="", effect="NoExecute"))),
    ],
)
def test_what_the_cluster_is_told_is_in_the_configuration_of_the_agent(
    chart: Chart, values: dict[str, Any], meant: ClusterSettings
) -> None:
    assert parse(chart.render({"cluster": values}).config, "config.yaml").cluster == meant


def test_pods_have_a_token_only_where_the_agent_talks_to_the_api_server(chart: Chart) -> None:
    with_token = {
        str(cluster): chart.render({"cluster": cluster}).pod["automountServiceAccountToken"]
        for cluster in (
            {"labels": "off"},
            {"labels": False},
            {"labels": "nfd-file"},
            {"labels": "apply"},
            {"labels": "node-feature"},
            {"taint": {"enabled": True}},
        )
    }
    assert list(with_token.values()) == [False, False, False, True, True, True]


def test_the_rights_of_the_pods_are_those_that_each_way_needs(chart: Chart) -> None:
    def rights(cluster: dict[str, Any]) -> dict[str, list[str]]:
        rendered = chart.render({"cluster": cluster})
        return {
            f"{role['kind']} {rule['resources'][0]}": rule["verbs"]
            for kind in ("ClusterRole", "Role")
            for role in rendered.all_of(kind)
            for rule in role["rules"]
        }

    assert rights({"labels": "off"}) == rights({"labels": "nfd-file"}) == {}
    assert rights({"labels": "apply"}) == rights({"taint": {"enabled": True}}) == {"ClusterRole nodes": ["get", "patch"]}
    assert rights({"labels": "node-feature"}) == {"Role nodefeatures": ["get", "create", "patch"]}


def test_the_file_of_nfd_can_be_written_where_it_is_wanted(chart: Chart) -> None:
    folder = "/etc/kubernetes/node-feature-discovery/features.d"
    assert chart.render({"cluster": {"labels": "nfd-file"}}).mounts()[folder] == (folder, True)
    assert folder not in chart.render({"cluster": {"labels": "apply"}}).mounts()


def test_nfd_says_which_nodes_are_meant_where_that_is_wanted(chart: Chart) -> None:
    affinity: dict[str, Any] = {"podAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": []}}
    rendered = chart.render({"nfd": {"enabled": True}, "affinity": affinity}).pod["affinity"]
    assert rendered["podAffinity"] == affinity["podAffinity"]
    terms = rendered["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [term["matchExpressions"] for term in terms] == [
        [{"key": f"feature.node.kubernetes.io/{card}.present", "operator": "In", "values": ["true"]}]
        for card in ("pci-1200_1ed2", "pci-1ed2")
    ]


def test_nfd_and_an_affinity_for_nodes_are_not_both_meant(chart: Chart) -> None:
    required: dict[str, Any] = {
        "nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": []}]}}
    }
    with pytest.raises(Refused, match=r"nfd\.enabled and affinity\.nodeAffinity\S+ both say which nodes are meant: set one of them"):
        chart.render({"nfd": {"enabled": True}, "affinity": required})


def test_an_exception_gives_what_it_says_and_nothing_else(chart: Chart) -> None:
    usual = chart.render()
    nodes = chart.render({"securityExceptions": {"makeDeviceNodes": True}})
    assert nodes.container["securityContext"] == {
        **usual.container["securityContext"],
        "capabilities": {"drop": ["ALL"], "add": ["MKNOD"]},
    }
    assert nodes.mounts() == {**usual.mounts(), "/host/run/npu-agent": ("/run/npu-agent", True)}
    admin = chart.render({"securityExceptions": {"capabilities": ["SYS_ADMIN"]}}).container["securityContext"]
    assert (admin["allowPrivilegeEscalation"], admin["privileged"]) == (True, False)  # Kubernetes refuses anything else


def test_openshift_allows_what_the_pods_are(chart: Chart) -> None:
    constraints = chart.render({"openshift": {"scc": True}}).one("SecurityContextConstraints")
    assert constraints["users"] == ["system:serviceaccount:npu:npu-agent"]
    assert constraints["allowHostDirVolumePlugin"] is True
    assert [name for name, allowed in constraints.items() if name.startswith("allowHost") and allowed] == ["allowHostDirVolumePlugin"]
    assert (constraints["requiredDropCapabilities"], constraints["allowedCapabilities"]) == (["ALL"], [])
    assert set(constraints["volumes"]) >= {next(iter(volume.keys() - {"name"})) for volume in chart.render().pod["volumes"]}


def test_the_probes_ask_the_port_that_is_served(chart: Chart) -> None:
    container = chart.render({"http": {"enabled": True, "port": 9500}}).container
    assert "--http=:9500" in container["args"]
    assert container["ports"] == [{"name": "http", "containerPort": 9500}]
    assert [container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")] == [
        {"path": path, "port": "http"} for path in ("/healthz", "/healthz", "/readyz")
    ]
    off = chart.render({"http": {"enabled": False}}).container
    assert not {"ports", "startupProbe", "livenessProbe", "readinessProbe"} & off.keys()
    assert not [argument for argument in off["args"] if argument.startswith("--http")]


def test_an_amount_that_is_empty_is_not_there(chart: Chart) -> None:
    resources = chart.render({"resources": {"limits": {"memory": ""}, "requests": {"cpu": 0.5}}}).container["resources"]
    assert resources == {"requests": {"cpu": "0.5", "memory": "48Mi"}}


def test_the_names_of_two_releases_are_apart(chart: Chart) -> None:
    names = [chart.render(release=release).one("DaemonSet")["metadata"]["name"] for release in ("npu-agent", "second", "my-npu-agent")]
    assert names == ["npu-agent", "second-npu-agent", "my-npu-agent"]


def test_the_longest_name_of_a_release_leaves_room_for_the_names_of_our_jobs(chart: Chart) -> None:
    rendering = chart.render(release="a" * 53)
    assert max(len(item["metadata"]["name"]) for item in rendering.objects) <= 63


def test_the_test_job_asks_for_the_first_resource_of_the_configuration(chart: Chart) -> None:
    for values in (
        {"config": {"data": {"resources": [{"name": "example.org/a"}, {"name": "example.org/b"}]}}},
        {"test": {"resource": "example.org/a"}},
    ):
        (job,) = chart.render(values).hook("test")
        assert job["spec"]["template"]["spec"]["containers"][0]["resources"]["limits"] == {"example.org/a": 1}


def test_what_agents_put_on_nodes_is_taken_away_before_the_release_goes(chart: Chart) -> None:
    rendering = chart.render({"cluster": {"labels": "apply"}, "nodeSelector": {"a": "b"}})
    hooks = {item["kind"]: item for item in rendering.hook("pre-delete")}
    assert hooks.keys() == {"ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Job"}
    assert {item["metadata"]["annotations"]["helm.sh/hook-delete-policy"] for item in hooks.values()} == {
        "before-hook-creation,hook-succeeded"
    }
    pod = hooks["Job"]["spec"]["template"]["spec"]
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert pod["serviceAccountName"] == hooks["ServiceAccount"]["metadata"]["name"] != rendering.pod["serviceAccountName"]
    assert [rule["verbs"] for rule in hooks["ClusterRole"]["rules"]] == [["get", "list", "patch"]]


def test_where_nothing_is_put_on_nodes_there_is_nothing_to_take_away(chart: Chart) -> None:
    for cluster in ({"labels": "off"}, {"labels": "nfd-file"}, {"labels": "node-feature"}):
        assert not chart.render({"cluster": cluster}).hook("pre-delete")


@pytest.mark.parametrize(
    ("cdi", "folder"), [({}, None), ({"handover": "cdi"}, "/var/run/cdi"), ({"handover": "both", "folder": "/etc/cdi"}, "/etc/cdi")]
)
def test_the_folder_of_specs_is_there_where_devices_are_handed_over_by_cdi(chart: Chart, cdi: dict[str, str], folder: str | None) -> None:
    mounts = chart.render({"config": {"data": {"cdi": cdi}}}).mounts()
    assert {at: mount for at, mount in mounts.items() if "cdi" in at} == ({folder: (folder, True)} if folder else {})

"""What is installed when nobody says anything: an agent on every Linux node that may next to nothing."""

import pytest
import typer
import yaml

from npu_agent import __version__
from npu_agent.cli import app
from npu_agent.config.configuration import DEFAULT
from npu_agent.config.reading import parse
from tests.chart.rendering import CHART, Chart, Rendering


@pytest.fixture(scope="module")
def defaults(chart: Chart) -> Rendering:
    return chart.render()


def test_there_is_a_pod_on_every_linux_node_whatever_its_taints(defaults: Rendering) -> None:
    assert defaults.pod["nodeSelector"] == {"kubernetes.io/os": "linux"}
    assert defaults.pod["tolerations"] == [{"operator": "Exists"}]
    assert "affinity" not in defaults.pod
    assert defaults.pod["priorityClassName"] == "system-node-critical"


def test_one_agent_goes_before_another_one_comes(defaults: Rendering) -> None:
    assert defaults.one("DaemonSet")["spec"]["updateStrategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
    }


def test_the_container_may_next_to_nothing(defaults: Rendering) -> None:
    assert defaults.container["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert defaults.pod["securityContext"] == {"runAsUser": 0, "runAsGroup": 0, "seccompProfile": {"type": "RuntimeDefault"}}
    assert not {"hostNetwork", "hostPID", "hostIPC", "hostUsers"} & defaults.pod.keys()


def test_only_the_folder_of_plugins_and_that_of_the_agent_can_be_written_to(defaults: Rendering) -> None:
    assert defaults.mounts() == {
        "/var/lib/kubelet/device-plugins": ("/var/lib/kubelet/device-plugins", True),
        "/var/lib/kubelet/pod-resources": ("/var/lib/kubelet/pod-resources", False),
        "/run/npu-agent": ("/run/npu-agent", True),
        "/host/sys": ("/sys", False),
        "/host/dev": ("/dev", False),
    }


def test_what_is_mounted_below_sys_and_dev_cannot_be_written_to_where_kubernetes_can_say_so(chart: Chart) -> None:
    for release, recursively in (("1.30.14", {None}), ("1.31.0", {"IfPossible"})):
        mounts = chart.render(None, "--kube-version", release).container["volumeMounts"]
        assert {mount.get("recursiveReadOnly") for mount in mounts if mount["mountPath"].startswith("/host/")} == recursively


def test_there_is_no_token_and_there_are_no_rights(defaults: Rendering) -> None:
    assert defaults.pod["automountServiceAccountToken"] is False
    assert defaults.one("ServiceAccount")["automountServiceAccountToken"] is False
    assert {item["kind"] for item in defaults.objects} == {"ServiceAccount", "ConfigMap", "DaemonSet", "Job"}


def test_the_configuration_is_a_folder_and_means_the_defaults(defaults: Rendering) -> None:
    (mount,) = [mount for mount in defaults.container["volumeMounts"] if mount["name"] == "config"]
    assert mount == {"name": "config", "mountPath": "/etc/npu-agent", "readOnly": True}
    assert parse(defaults.config, "config.yaml") == DEFAULT


def test_what_the_container_runs_is_a_command_that_the_program_takes(chart: Chart) -> None:
    commands = typer.main.get_command(app)
    container = chart.render({"log": {"level": "debug", "format": "json"}}).container
    assert container["command"] == ["npu-agent"]
    name, *arguments = container["args"]
    assert name == "serve"
    assert isinstance(commands, typer.core.TyperGroup)
    serve = commands.get_command(commands.make_context("npu-agent", [], resilient_parsing=True), name)
    assert serve
    given = serve.make_context(name, list(arguments)).params
    assert [str(given[name]) for name in ("config", "host_root", "log_level", "log_format")] == [
        "/etc/npu-agent/config.yaml",
        "/host",
        "debug",
        "json",
    ]


def test_the_job_of_helm_test_asks_for_one_device(defaults: Rendering) -> None:
    (job,) = defaults.hook("test")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["resources"] == {"limits": {"furiosa.ai/npu": 1}}
    assert container["image"] == defaults.container["image"] == f"localhost/npu-agent:{__version__}"
    assert container["command"] == ["npu-agent", "version"]


def test_the_chart_has_the_version_of_the_agent() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["appVersion"] == about["version"] == __version__

"""What helm refuses before anything reaches a cluster, and that it says where the mistake is."""

from typing import Any

import pytest

from tests.chart.rendering import Chart, Refused
from tests.chart.test_values import nested


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        ("image.repositry", "x", "additional properties 'repositry' not allowed"),
        ("devicePlugin", {}, "additional properties 'devicePlugin' not allowed"),
        ("image.repository", "", "at '/image/repository'"),
        ("image.pullPolicy", "IfPresent", "at '/image/pullPolicy': value must be one of 'Always', 'IfNotPresent', 'Never'"),
        ("image", None, "missing property 'image'"),
        ("cluster.labels", "on", "at '/cluster/labels': value must be one of 'off', 'apply', 'nfd-file', 'node-feature'"),
        ("cluster.taint.effect", "NoStart", "at '/cluster/taint/effect'"),
        ("http.port", 80, "at '/http/port': minimum: got 80, want 1,024"),
        ("http.enabled", "yes", "at '/http/enabled': got string, want boolean"),
        ("kubelet.rootPath", "var/lib/kubelet", "at '/kubelet/rootPath'"),
        ("kubelet.devicePluginsPath", "/", "at '/kubelet/devicePluginsPath'"),
        ("updateStrategy.rollingUpdate.maxSurge", 1, "at '/updateStrategy/rollingUpdate/maxSurge': value must be 0"),
        ("updateStrategy.rollingUpdate.maxUnavailable", 0, "at '/updateStrategy/rollingUpdate/maxUnavailable'"),
        ("resources.limits.memory", "64 MiB", "at '/resources/limits/memory'"),
        ("tolerations", [{"operator": "Exist"}], "at '/tolerations/0/operator'"),
        ("nodeSelector", {"a": True}, "at '/nodeSelector/a': got boolean, want string"),
        ("securityExceptions.capabilities", ["cap_sys_admin"], "at '/securityExceptions/capabilities/0'"),
        ("config.data", {"resources": [{"name": "npu", "replica": 2}]}, "additional properties 'replica' not allowed"),
        ("config.data", {"probe_interval_s": "often"}, "at '/config/data/probe_interval_s': got string, want number"),
        ("config.data", {"backends": {"sysfs": {"familes": ["rngd"]}}}, "additional properties 'familes' not allowed"),
        ("config.data", {"cluster": {"labels": "apply"}}, "additional properties 'cluster' not allowed"),
        ("test.resource", "npu", "at '/test/resource'"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(chart: Chart, path: str, value: Any, said: str) -> None:
    with pytest.raises(Refused) as refused:
        chart.render(nested({path: value}))
    assert said in str(refused.value)


def test_a_chart_above_this_one_may_hand_its_globals_down(chart: Chart) -> None:
    assert chart.render({"global": {"anything": {"at": "all"}}}) == chart.render()

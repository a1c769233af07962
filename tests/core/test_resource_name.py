"""Names of resources that kubelet takes, and why it does not take the others."""

import pytest

from npu_agent.core.resource_name import resource_name_mistake


@pytest.mark.parametrize("name", ["furiosa.ai/npu", "a/b", "x-1.example.com/NPU_v1.2-a", f"{'a' * 244}/{'b' * 63}"])
def test_a_name_that_kubelet_takes_has_no_mistake(name: str) -> None:
    assert resource_name_mistake(name) == ""


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("npu", "expected DOMAIN/NAME, such as furiosa.ai/npu"),
        ("", "expected DOMAIN/NAME"),
        ("kubernetes.io/npu", "in a domain of Kubernetes itself"),
        ("x.kubernetes.io/npu", "in a domain of Kubernetes itself"),
        ("requests.furiosa.ai/npu", 'begins with "requests."'),
        ("Furiosa.ai/npu", '"Furiosa.ai" is not a domain'),
        ("/npu", '"" is not a domain'),
        ("a..b/npu", '"a..b" is not a domain'),
        (f"{'a' * 245}/npu", "is not a domain of at most 244"),
        ("furiosa.ai/", '"" is not a name'),
        ("furiosa.ai/a/b", '"a/b" is not a name'),
        ("furiosa.ai/-npu", '"-npu" is not a name'),
        ("furiosa.ai/npu\n", "is not a name"),
        (f"furiosa.ai/{'b' * 64}", "is not a name of at most 63"),
    ],
)
def test_a_name_that_kubelet_refuses_is_told_with_the_reason(name: str, mistake: str) -> None:
    assert mistake in resource_name_mistake(name)

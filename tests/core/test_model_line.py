"""Keys of labels, and what a family says of its model line."""

import pytest

from npu_agent.core.model_line import FACTS, GENERIC, NUMBERS, LabelRule, domain_mistake, is_label_name, label_key_mistake
from npu_agent.schema.fields import read


@pytest.mark.parametrize("text", ["a", "A", "0", "npu.count", "a-b_c.d", "x" * 63])
def test_a_name_of_a_label_is_letters_digits_and_a_few_signs_between_them(text: str) -> None:
    assert is_label_name(text)
    assert label_key_mistake(text) == ""
    assert label_key_mistake(f"example.com/{text}") == ""


@pytest.mark.parametrize("text", ["", "-a", "a-", ".a", "a.", "_", "a b", "ä", "a/b", "x" * 64, "a\n"])
def test_anything_else_is_none(text: str) -> None:
    assert not is_label_name(text)
    assert "at most 63 letters" in label_key_mistake(f"example.com/{text}") or "/" in text


@pytest.mark.parametrize("text", ["a", "npu-agent.io", "a.b.c", "kubernetes.io.example.com", "notkubernetes.io", ".".join(["x" * 62] * 4)])
def test_a_domain_is_one_of_dns(text: str) -> None:
    assert domain_mistake(text) == ""


@pytest.mark.parametrize("text", ["", "A.b", "a..b", ".a", "a.", "-a.b", "a-.b", "a_b.c", "a/b", ".".join(["x" * 63] * 4)])
def test_what_is_none_is_said(text: str) -> None:
    assert domain_mistake(text).startswith("expected a domain such as npu-agent.io")


@pytest.mark.parametrize("text", ["kubernetes.io", "node.kubernetes.io", "k8s.io", "nfd.k8s.io"])
def test_the_domains_of_kubernetes_are_not_ours_to_use(text: str) -> None:
    assert domain_mistake(text) == "labels of this domain belong to Kubernetes; use a domain of your own"
    assert label_key_mistake(f"{text}/name") == domain_mistake(text)


def test_an_empty_domain_is_no_domain() -> None:
    assert "expected a domain" in label_key_mistake("/name")
    assert "expected a domain" in label_key_mistake("a/b/name")


def test_what_every_family_is_labelled_with_is_known_and_has_keys_of_our_own() -> None:
    assert {rule.fact for rule in GENERIC} == {*FACTS} - {"family"}
    assert all(is_label_name(key) for rule in GENERIC for key in rule.keys)
    assert {rule.fact for rule in GENERIC if rule.mixed == "sum"} == {"count"} <= {*NUMBERS}
    assert {rule.fact for rule in GENERIC if rule.split} == {"driver", "firmware"}


def test_a_domain_is_as_long_as_dns_has_it_and_no_longer() -> None:
    longest = ".".join(["x" * 63, "x" * 63, "x" * 63, "x" * 61])
    assert len(longest) == 253
    assert domain_mistake(longest) == ""
    assert domain_mistake(f"{longest}x")


def test_no_more_than_sixty_characters_of_what_is_wrong_are_repeated() -> None:
    wrong = "A" * 60 + "B"
    assert domain_mistake(wrong) == f"expected a domain such as npu-agent.io, got '{'A' * 60}'"
    assert label_key_mistake(f"-{wrong}").endswith(f"digits, '-', '_' and '.', got '-{'A' * 59}'")


def test_a_rule_has_a_key_or_several() -> None:
    rule, mistakes = read({"fact": "count", "keys": "example.com/count"}, LabelRule)
    assert not mistakes
    assert rule is not None
    assert rule.keys == ("example.com/count",)
    _, mistakes = read({"fact": "count", "keys": []}, LabelRule)
    assert [str(mistake) for mistake in mistakes] == ["keys: expected a key or a list of keys, got an empty list"]
    _, mistakes = read({"fact": "count", "keys": ["-"]}, LabelRule)
    assert [mistake.path for mistake in mistakes] == ["keys[0]"]

"""The examples of docs/configuration.md and docs/labels.md: each is a configuration that the agent takes."""

import re
from pathlib import Path

import pytest

from npu_agent.config.configuration import DEFAULT
from npu_agent.config.reading import parse
from npu_agent.node.making import make_backends

PAGE = (Path(__file__).parent.parent / "docs" / "configuration.md").read_text()
WRONG = re.search(r"<!-- begin mistakes -->.*?<!-- end mistakes -->", PAGE, re.DOTALL)
LABELS = (Path(__file__).parent.parent / "docs" / "labels.md").read_text()
EXAMPLES = re.findall(r"```yaml\n(.*?)```", PAGE.replace(WRONG[0] if WRONG else "", ""), re.DOTALL)


@pytest.mark.parametrize("text", EXAMPLES)
def test_an_example_is_a_configuration_that_the_agent_takes(text: str) -> None:
    configuration = parse(text, "docs/configuration.md")
    assert list(make_backends(configuration, Path("/"))) == list(configuration.backends)


def test_the_defaults_are_those_that_the_page_ends_with() -> None:
    assert len(EXAMPLES) == 3
    assert parse(EXAMPLES[-1], "docs/configuration.md") == DEFAULT


def test_the_first_example_of_the_page_on_labels_turns_them_on() -> None:
    found = re.search(r"```yaml\n(.*?)```", LABELS, re.DOTALL)
    assert found is not None
    assert parse(found[1], "docs/labels.md").cluster.labels == "apply"

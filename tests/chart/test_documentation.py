"""What the pages have helm do is done here, as far as it goes without a cluster."""

from pathlib import Path

import pytest
import yaml

from tests.chart.rendering import Chart
from tests.documentation import ROOT, commands, yaml_of

PAGES = [ROOT / "docs" / "install.md", ROOT / "container" / "chart" / "npu-agent" / "README.md"]
OPTIONS = {"--set": 1, "--kube-version": 1, "--no-hooks": 0}
"""Those that say what is rendered, and how many words follow each."""


def rendered_by(words: list[str]) -> list[str]:
    """Return the options of a command that say what it renders."""
    kept: list[str] = []
    for index, word in enumerate(words):
        if word in OPTIONS:
            kept += words[index : index + 1 + OPTIONS[word]]
    return kept


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_what_helm_is_told_to_install_is_rendered(chart: Chart, page: Path) -> None:
    quoted = [words for words in commands(page) if words[:2] in (["helm", "install"], ["helm", "template"], ["helm", "upgrade"])]
    assert quoted
    for words in quoted:
        assert words[2] == "npu-agent"
        assert chart.render(None, *rendered_by(words)).one("DaemonSet")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_option_of_helm_is_known_to_it(chart: Chart, page: Path) -> None:
    for words in commands(page):
        if words[0] == "helm":
            known = chart.help(words[1])
            assert [word for word in words if word.startswith("--") and word not in known] == []


def test_the_values_of_the_page_are_taken(chart: Chart) -> None:
    values, quota = (yaml.safe_load(text) for text in yaml_of(PAGES[0]))
    rendering = chart.render(values)
    assert "furiosa.ai/rngd-2core" in rendering.config
    assert rendering.container["image"].startswith("registry.example.org/npu-agent:")
    assert quota["spec"]["scopeSelector"]["matchExpressions"][0]["values"] == [rendering.pod["priorityClassName"]]

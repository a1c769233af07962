"""docs/install.md and the chart's README: what they tell people to run is there, and takes what they give it."""

import re
from pathlib import Path

import pytest
import typer

from npu_agent import __version__
from npu_agent.cli import app
from tests.documentation import ROOT, anchors, commands, links

CHART = ROOT / "container" / "chart" / "npu-agent"
PAGES = [ROOT / "docs" / "install.md", CHART / "README.md"]
VALUES = set(re.findall(r"^\| `([a-zA-Z.]+)` \|", (CHART / "README.md").read_text(), re.MULTILINE))


def own(page: Path, program: str) -> list[list[str]]:
    """Return the arguments of all commands of a page that run `program`."""
    return [words[1:] for words in commands(page) if words[0] == program]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_link_leads_to_something(page: Path) -> None:
    for path, anchor in links(page):
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def test_every_command_of_npu_agent_takes_its_options() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    whole = group.make_context("npu-agent", [], resilient_parsing=True)
    quoted = [words for page in PAGES for words in own(page, "npu-agent")]
    assert len(quoted) >= 3
    for name, *arguments in quoted:
        command = group.get_command(whole, name)
        assert command, name
        command.make_context(name, arguments)


def test_every_variable_is_one_that_serve_reads() -> None:
    group = typer.main.get_command(app)
    assert isinstance(group, typer.core.TyperGroup)
    serve = group.get_command(group.make_context("npu-agent", [], resilient_parsing=True), "serve")
    assert serve
    read = {option.envvar for option in serve.params}
    quoted = {name for page in PAGES for name in re.findall(r"NPU_AGENT_[A-Z_]+", page.read_text())}
    assert quoted
    assert quoted <= read


def test_every_target_of_make_is_there() -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    quoted = {words[0] for page in PAGES for words in own(page, "make")}
    assert quoted
    assert quoted <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_file_of_the_checkout_that_is_named_is_there(page: Path) -> None:
    quoted = set(re.findall(r"\b(?:container|scripts|docs)/[\w./-]+\w", page.read_text()))
    assert quoted
    assert [path for path in quoted if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_value_that_is_named_is_one_of_the_chart(page: Path) -> None:
    sections = {value.partition(".")[0] for value in VALUES}
    prose = page.read_text().partition("<!-- begin values -->")[0]
    quoted = {
        name for name in re.findall(r"(?:`|--set )([a-z][A-Za-z]*(?:\.[a-zA-Z]+)+)(?:`|=)", prose) if name.partition(".")[0] in sections
    }
    assert quoted
    known = VALUES | {f"{value.rpartition('.')[0]}" for value in VALUES}
    assert quoted - known == set()


def test_the_version_of_the_chart_is_the_one_that_is_quoted() -> None:
    quoted = re.findall(r"npu-agent[-:](\d+\.\d+\.\d+)", (ROOT / "docs" / "install.md").read_text())
    assert set(quoted) == {__version__}

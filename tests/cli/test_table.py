"""A listing as a table: a row for each device, who holds it, and since when it is as it is."""

from typing import Any

import pytest

from npu_agent.api.npu_agent.v1 import Accelerator, Device, Holder, Registration, Resource, Status
from npu_agent.cli.listing import listing_of
from npu_agent.cli.table import age, columns_of, table

NOW = 1_800_000_000.0


def status(**accelerator: str) -> Status:
    """Return what an agent says of a card with two parts, of which one is held, and of one that no resource has."""
    card: dict[str, Any] = {"id": "card", "family": "rngd", "name": "npu0", "state": "healthy", **accelerator}
    return Status(
        accelerators=[
            Accelerator(**card, since=NOW - 200, device_nodes=["/dev/rngd/npu0mgmt", "/dev/rngd/npu0pe0", "/dev/rngd/npu0pe1"]),
            Accelerator(id="spare", family="warboy", state="excluded", reason="the configuration leaves it out", since=NOW - 90_000),
        ],
        resources=[
            Resource(
                name="furiosa.ai/half",
                devices=[
                    Device(id="card_a", accelerator_id="card", healthy=True, partition="a", holders=[Holder("team", "job", "main")]),
                    Device(id="card_b", accelerator_id="card", healthy=True, partition="b"),
                ],
                registration=Registration(state="registered", since=NOW, endpoint="npu.sock", registrations=1),
            )
        ],
    )


def test_each_device_has_a_row_with_its_holder() -> None:
    assert table(listing_of(status(), "agent"), wide=False, now=NOW, colours=False).splitlines() == [
        "ID      NAME  FAMILY  RESOURCE         STATE     AGE  HOLDER         NUMA  PCI  FIRMWARE  REASON",
        "card_a  npu0  rngd    furiosa.ai/half  healthy   3m   team/job/main  -     -    -         -",
        "card_b  npu0  rngd    furiosa.ai/half  healthy   3m   -              -     -    -         -",
        "spare   -     warboy  -                excluded  1d   -              -     -    -         the configuration leaves it out",
    ]


def test_a_device_that_was_given_out_twice_shows_both_holders() -> None:
    twice = status()
    twice.resources[0].devices[0].holders.append(Holder("team", "other", "main"))
    assert "team/job/main,team/other/main" in table(listing_of(twice, "agent"), wide=False, now=NOW, colours=False)


def test_holders_that_kubelet_does_not_tell_are_a_question_mark_and_null() -> None:
    unknown = status()
    unknown.holders_problem = "kubelet cannot be asked"
    listing = listing_of(unknown, "agent")
    assert listing.resources[0].held is None
    assert [device.holders for device in listing.accelerators[0].devices] == [None, None]
    assert table(listing, wide=False, now=NOW, colours=False).count("?") == 2
    assert listing_of(status(), "agent").resources[0].held == 1


def test_many_device_nodes_are_counted() -> None:
    assert "/dev/rngd/npu0mgmt and 2 more" in table(listing_of(status(), "agent"), wide=True, now=NOW, colours=False)


def test_what_a_card_says_of_itself_does_not_steer_the_terminal() -> None:
    shown = table(listing_of(status(firmware="1.0\x1b[2J\nroot"), "agent"), wide=False, now=NOW, colours=False)
    assert "\x1b" not in shown
    assert "1.0\\x1b[2J\\nroot" in shown


def test_colours_keep_the_columns_aligned() -> None:
    plain = table(listing_of(status(), "agent"), wide=False, now=NOW, colours=False)
    coloured = table(listing_of(status(), "agent"), wide=False, now=NOW, colours=True)
    assert "\x1b[32mhealthy \x1b[0m" in coloured
    assert coloured.replace("\x1b[32m", "").replace("\x1b[0m", "") == plain


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-3, "0s"), (0, "0s"), (119.9, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (86399, "23h"), (86400, "1d"), (8_640_000, "100d")],
)
def test_an_age_is_told_in_one_unit(seconds: float, text: str) -> None:
    assert age(seconds) == text


def many(count: int) -> Status:
    cards = [Accelerator(id=f"rngd-{number}", family="rngd", state="healthy", since=NOW) for number in range(count)]
    cards[7].state, cards[7].reason = "unhealthy", "the driver does not answer; see the kernel's log, and reset the card or the node"
    return Status(accelerators=cards)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_line_is_wider_than_the_terminal_and_what_matters_most_stays(width: int) -> None:
    lines = table(listing_of(many(12), "agent"), wide=True, now=NOW, colours=False, width=width).splitlines()
    assert max(map(columns_of, lines)) <= width
    assert lines[0].split()[0] == "ID"
    assert "STATE" in lines[0]
    assert "the driver" in lines[8]


def test_what_is_bad_comes_first_where_not_all_rows_fit() -> None:
    lines = table(listing_of(many(30), "agent"), wide=False, now=NOW, colours=False, height=10).splitlines()
    assert len(lines) == 10
    assert lines[1].startswith("rngd-7 ")
    assert lines[-1] == "… 22 more"


def test_wide_characters_are_counted_as_two_columns() -> None:
    lines = table(listing_of(status(firmware="한글"), "agent"), wide=False, now=NOW, colours=False).splitlines()
    assert columns_of("한글") == 4
    assert lines[1].endswith("한글      -")


def test_attributes_and_notices_are_in_the_wide_table() -> None:
    noted = status()
    noted.accelerators[0].attributes = {"module": "3", "board": "B0"}
    noted.accelerators[0].notices = ["two families describe it"]
    shown = table(listing_of(noted, "agent"), wide=True, now=NOW, colours=False)
    assert "module=3,board=B0" in shown
    assert "two families describe it" in shown


def test_of_the_parts_of_one_card_those_alone_are_withheld_that_are() -> None:
    some = status(state="withheld", reason="pod old may still hold it")
    some.resources[0].devices[0].withheld = "pod old may still hold it"
    listing = listing_of(some, "agent")
    rows = table(listing, wide=False, now=NOW, colours=False).splitlines()
    assert ["withheld" in row for row in rows[1:3]] == [True, False]
    assert rows[1].endswith("pod old may still hold it")
    assert "healthy" in rows[2]
    assert listing.resources[0].healthy == 1

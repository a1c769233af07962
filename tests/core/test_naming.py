"""Which hardware is which, when the texts by which cards are named change."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from npu_agent.core.accelerator import Accelerator
from npu_agent.core.allocations import Allocation
from npu_agent.core.health import Health
from npu_agent.core.inventory import Tracked
from npu_agent.core.naming import Hardware, Named, known_hardware, named, one_of_each

WELL = Health(True, "", 0.0)


def card(id: str, address: str = "", *, uuid: str = "", serial: str = "", name: str = "npu0", unusable: str = "") -> Accelerator:
    pci = f"0000:{address}:00.0" if address else ""
    return Accelerator(id, "sysfs", "rngd", name=name, pci_address=pci, uuid=uuid, serial=serial, unusable=unusable)


def seen(found: Sequence[Accelerator], *known: Accelerator, held: Sequence[Allocation] = (), names: Sequence[str] = ()) -> Named:
    return named(found, known_hardware({one.id: Tracked(one, WELL) for one in known}, held), names)


def ids(result: Named) -> list[str]:
    return [accelerator.id for accelerator in result.accelerators]


def test_a_new_card_is_called_as_its_backend_proposes() -> None:
    assert ids(seen([card("U", "27", uuid="U")])) == ["U"]


def test_a_card_keeps_its_id_when_its_uuid_appears_late() -> None:
    assert ids(seen([card("U", "27", uuid="U")], card("0000-27-00.0", "27"))) == ["0000-27-00.0"]


def test_a_twin_that_comes_leaves_the_id_to_the_card_that_had_it() -> None:
    known = card("U", "27", uuid="U")
    found = [card("U_0000-27-00.0", "27", uuid="U"), card("U_0000-2a-00.0", "2a", uuid="U", name="npu1")]
    result = seen(found, known)
    assert ids(result) == ["U", "U_0000-2a-00.0"]
    assert result.doubts == {}


def test_a_card_that_moved_keeps_its_id() -> None:
    assert ids(seen([card("U", "2a", uuid="u", name="npu1")], card("U", "27", uuid="U"))) == ["U"]


def test_a_card_that_is_held_and_could_not_be_read_before_it_moved_keeps_its_id() -> None:
    held = Allocation("r", "U", accelerator_id="U", backend="sysfs", family="rngd", name="npu0", uuid="U", pci_address="0000:27:00.0")
    found = [card("U", "2a", uuid="U", name="npu1")]
    assert ids(seen(found, card("U", "27"), held=[held])) == ["U"]


def test_of_two_cards_that_may_be_one_that_is_away_neither_gets_its_id() -> None:
    found = [card("U_0000-2a-00.0", "2a", uuid="U"), card("U_0000-51-00.0", "51", uuid="U", name="npu1")]
    result = seen(found, card("U", "27", uuid="U"))
    assert ids(result) == ["U_0000-2a-00.0", "U_0000-51-00.0"]
    assert result.doubts == {"U_0000-2a-00.0": {"U"}, "U_0000-51-00.0": {"U"}}


def test_another_uuid_in_the_place_of_a_card_is_another_card_or_the_same_one() -> None:
    result = seen([card("V", "27", uuid="V")], card("U", "27", uuid="U"))
    assert ids(result) == ["V"]
    assert result.doubts == {"V": {"U"}}


def test_a_twin_that_was_known_beside_a_card_is_not_doubted_when_that_one_leaves() -> None:
    first, second = card("U", "27", uuid="U"), card("U_0000-2a-00.0", "2a", uuid="U", name="npu1")
    result = seen([replace(second, id="U")], first, second)
    assert ids(result) == ["U_0000-2a-00.0"]
    assert result.doubts == {}


def test_what_an_allocation_remembers_names_a_card_after_a_restart() -> None:
    held = Allocation("furiosa.ai/npu", "0000-27-00.0", "0000-27-00.0", pci_address="0000:27:00.0")
    assert ids(seen([card("U", "27", uuid="U")], held=[held])) == ["0000-27-00.0"]


def test_a_card_that_kubelet_alone_remembers_is_called_so_again_where_it_is_the_only_one() -> None:
    assert ids(seen([card("U", "27", uuid="U")], names=["0000-27-00.0"])) == ["0000-27-00.0"]
    assert ids(seen([card("U", "27", uuid="U")], names=["0000-27-00.0_pe0-1"])) == ["0000-27-00.0"]
    twins = [card("U_0000-27-00.0", "27", uuid="U"), card("U_0000-2a-00.0", "2a", uuid="U")]
    assert ids(seen(twins, names=["U"])) == ["U_0000-27-00.0", "U_0000-2a-00.0"]


def test_the_id_of_a_card_that_is_away_is_given_to_no_other() -> None:
    away = card("U", "27", uuid="U")
    result = seen([card("U", "2a", uuid="", serial="U")], away)
    assert ids(result) == ["U_0000-2a-00.0"]


def test_a_card_that_was_never_offered_has_no_id_to_keep() -> None:
    unread = card("rngd-npu0", unusable="not read yet")
    assert ids(seen([card("U", "27", uuid="U")], unread)) == ["U"]


def test_a_card_without_an_address_is_known_by_its_driver_s_name_or_by_its_id() -> None:
    assert ids(seen([card("V", name="npu0")], card("U", name="npu0"))) == ["U"]
    assert ids(seen([card("b", name="")], card("a", name=""))) == ["b"]


def test_of_two_backends_that_see_one_card_the_one_that_can_use_it_has_it() -> None:
    bound, usable = card("V", "27", unusable="bound to vfio-pci"), replace(card("vfio-27", "27"), backend="vfio")
    other = card("W", "2a")
    assert one_of_each([[bound, other], [usable]]) == [usable, other]
    assert one_of_each([[usable], [bound, other]]) == [usable, other]
    assert one_of_each([[card("a")], [card("a"), card("b")]]) == [card("a"), card("b")]


def test_backends_that_see_one_card_by_its_id_agree_with_or_without_an_address() -> None:
    addressed, bare = card("A", "27"), card("A")
    assert one_of_each([[addressed], [bare]]) == [addressed]
    assert one_of_each([[bare], [addressed]]) == [bare]
    first, second = card("A", "27"), card("B", "27")
    assert one_of_each([[first], [second]]) == [first]
    cards = [card("A", "27"), card("B", "2a"), replace(card("C", "51"), unusable="no driver")]
    assert one_of_each([cards[:1], cards[1:], [card("D", "51")]]) == [*cards[:2], card("D", "51")]
    vfio = replace(card("A", "27"), unusable="bound to vfio-pci")
    assert one_of_each([[vfio], [replace(vfio, unusable="no driver")]]) == [vfio]


def test_a_card_that_only_an_allocation_remembers_is_known_by_all_that_it_remembers() -> None:
    held = Allocation("r", "U_pe0", "U", backend="sysfs", family="rngd", name="npu0", uuid="u", serial="s", pci_address="0000:27:00.0")
    assert known_hardware({}, [held, Allocation("r", "V")]) == [Hardware("U", "U", "sysfs", "rngd", "npu0", "u", "s", "0000:27:00.0")]
    (known,) = known_hardware({}, [held], {"U": card("0000-27-00.0", "27")})
    assert known.proposed == "0000-27-00.0"


def test_a_card_that_is_there_keeps_its_own_texts_and_takes_those_that_it_lacks_from_what_is_held() -> None:
    held = Allocation("r", "U", "U", uuid="old", serial="s")
    there = card("U", "27", uuid="new")
    (known,) = known_hardware({"U": Tracked(there, WELL)}, [held])
    assert known == Hardware("U", "U", "sysfs", "rngd", "npu0", "new", "s", "0000:27:00.0")
    (alone,) = known_hardware({"U": Tracked(there, WELL)}, [])
    assert (alone.uuid, alone.serial) == ("new", "")
    (itself,) = known_hardware({"U": Tracked(replace(there, serial="mine"), WELL)}, [held])
    assert itself.serial == "mine"


def test_a_newcomer_that_shares_no_text_with_an_absent_card_is_not_doubted() -> None:
    absent = card("U", "27", uuid="U", serial="S")
    assert seen([card("V", "2a", uuid="V", serial="T", name="npu1")], absent).doubts == {}
    twins = [card("V", "2a", uuid="V", serial="S", name="npu1"), card("W", "51", uuid="W", serial="S", name="npu2")]
    assert seen(twins, absent).doubts == {"V": {"U"}, "W": {"U"}}


def test_a_card_that_keeps_its_id_is_the_card_that_was_found() -> None:
    found = card("U", "27", uuid="U")
    assert seen([found], found).accelerators[0] is found


def test_a_card_that_cannot_be_used_claims_no_id_of_what_is_held() -> None:
    assert ids(seen([card("U", "27", uuid="U", unusable="no driver")], names=["0000-27-00.0"])) == ["U"]
    assert ids(seen([card("U", "27", uuid="U")], card("0000-27-00.0", "99", name="npu9"), names=["0000-27-00.0"])) == ["U"]


def test_a_card_that_moved_keeps_its_id_whatever_its_backend_calls_it_now() -> None:
    assert ids(seen([card("U", "2a", uuid="U", name="npu1")], card("0000-27-00.0", "27", uuid="U"))) == ["0000-27-00.0"]
    assert ids(seen([card("S", "2a", serial="S", name="npu1")], card("0000-27-00.0", "27", serial="S"))) == ["0000-27-00.0"]


def test_cards_in_one_place_are_told_apart_by_what_their_backend_calls_them() -> None:
    assert ids(seen([card("B"), card("A")], card("A"), card("B"))) == ["B", "A"]
    known = known_hardware({"a": Tracked(card("a", name=""), WELL)}, [], {"a": card("b", name="")})
    assert ids(named([card("b", name="")], known)) == ["a"]


def test_two_newcomers_that_their_backend_calls_alike_get_two_ids() -> None:
    first, second = ids(seen([card("A", "27"), card("A", "2a", name="npu1")]))
    assert first == "A"
    assert second != "A"


TEXTS = st.sampled_from(["", "A", "B", "A_0000-27-00.0"])
CARDS = st.lists(
    st.builds(
        card,
        TEXTS.filter(bool),
        st.sampled_from(["", "27", "2a", "51"]),
        uuid=TEXTS,
        serial=TEXTS,
        name=st.sampled_from(["", "npu0", "npu1"]),
    ),
    max_size=5,
    unique_by=lambda one: one.id,
)


@given(CARDS, CARDS, st.lists(TEXTS.filter(bool), max_size=2))
def test_no_two_cards_have_one_id_and_none_has_that_of_a_card_that_is_away(
    found: list[Accelerator], known: list[Accelerator], names: list[str]
) -> None:
    result = seen(found, *known, names=names)
    assert len(set(ids(result))) == len(found)
    proposals = {one.id: card for one, card in zip(result.accelerators, found, strict=True)}
    again = named(found, known_hardware({one.id: Tracked(one, WELL) for one in (*known, *result.accelerators)}, [], proposals))
    assert set(ids(again)) == set(ids(result)), "what is seen twice is called the same"

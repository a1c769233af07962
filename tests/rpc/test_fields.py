import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.api.v1 import ContainerResources
from npu_agent.api.v1beta1 import (
    AllocateRequest,
    ContainerAllocateRequest,
    ContainerPreferredAllocationRequest,
    PreferredAllocationRequest,
    PreStartContainerRequest,
)
from npu_agent.rpc.fields import MOST_UNKNOWN, has_at_most

IDS = st.lists(st.text(max_size=200), max_size=20)


def count(data: bytes, kind: type) -> int:
    """Return the least bound that holds."""
    return next(most for most in range(100_000) if has_at_most(data, kind, most))


@given(st.lists(IDS, max_size=5))
def test_a_field_is_counted_once_wherever_it_lies(containers: list[list[str]]) -> None:
    request = AllocateRequest(container_requests=[ContainerAllocateRequest(device_ids=ids) for ids in containers])
    assert count(bytes(request), AllocateRequest) == len(containers) + sum(map(len, containers))


@given(IDS, IDS, st.integers(-5, 2**31 - 1))
def test_numbers_and_texts_count_as_one_each(available: list[str], must: list[str], size: int) -> None:
    inner = ContainerPreferredAllocationRequest(available_device_ids=available, must_include_device_ids=must, allocation_size=size)
    request = PreferredAllocationRequest(container_requests=[inner])
    assert count(bytes(request), PreferredAllocationRequest) == 1 + len(available) + len(must) + (size != 0)


@given(st.binary(max_size=2000))
def test_no_data_is_too_odd_to_be_counted(data: bytes) -> None:
    for kind in (AllocateRequest, PreferredAllocationRequest, PreStartContainerRequest, ContainerResources):
        assert has_at_most(data, kind, 1_000_000) or len(data) > MOST_UNKNOWN


@pytest.mark.parametrize("field", [b"\x0a\x00", b"\x08\x01", b"\x0d1234", b"\x0912345678", b"\x0b"])
def test_more_fields_than_there_may_be_are_found_whatever_their_form(field: bytes) -> None:
    assert has_at_most(field * 10, AllocateRequest, 10)
    assert not has_at_most(field * 11, AllocateRequest, 10)


def test_fields_that_nobody_knows_have_a_bound_of_their_own() -> None:
    unknown = b"\x7a\x01x"
    assert has_at_most(unknown * MOST_UNKNOWN, AllocateRequest, 1000)
    assert not has_at_most(unknown * (MOST_UNKNOWN + 1), AllocateRequest, 1000)

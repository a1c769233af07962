import pytest
from hypothesis import given
from hypothesis import strategies as st

from npu_agent.api.v1beta1 import Device as WireDevice
from npu_agent.api.v1beta1 import ListAndWatchResponse, NumaNode, TopologyInfo
from npu_agent.core.health import Health
from npu_agent.core.pool import Device, Pool
from npu_agent.deviceplugin.lists import MAX_MESSAGE_BYTES, ListTooLarge, device_list

devices = st.builds(
    Device,
    id=st.text("abc-0123456789", min_size=1, max_size=200),
    accelerator_id=st.just("card"),
    health=st.builds(Health, healthy=st.booleans(), reason=st.just(""), since=st.just(0.0)),
    numa_node=st.none() | st.integers(0, 63),
)


@given(st.lists(devices, max_size=20))
def test_the_list_is_what_the_compiler_s_code_would_write_and_kubelet_can_read_it(pool: list[Device]) -> None:
    written = device_list(Pool("furiosa.ai/npu", tuple(pool)))
    expected = ListAndWatchResponse(
        devices=[
            WireDevice(
                id=device.id,
                health="Healthy" if device.health.healthy else "Unhealthy",
                topology=None if device.numa_node is None else TopologyInfo(nodes=[NumaNode(id=device.numa_node)]),
            )
            for device in pool
        ]
    )
    assert written.encoded == bytes(expected)
    assert ListAndWatchResponse.parse(written.encoded) == expected


def test_a_device_whose_numa_node_is_unknown_has_no_topology_at_all() -> None:
    written = device_list(Pool("furiosa.ai/npu", (Device("a", "a", Health(True, "", 0.0)),)))
    assert ListAndWatchResponse.parse(written.encoded).devices[0].topology is None


def test_a_list_beyond_kubelet_s_limit_is_refused_with_the_resource_and_the_count() -> None:
    pool = Pool("furiosa.ai/npu", tuple(Device(f"{number:0>63}", "a", Health(True, "", 0.0)) for number in range(60_000)))
    with pytest.raises(ListTooLarge, match=r"furiosa.ai/npu: the list of 60000 devices is \d+ bytes"):
        device_list(pool)


def test_ten_thousand_devices_fit() -> None:
    pool = Pool("furiosa.ai/npu", tuple(Device(f"{number:0>63}", "a", Health(True, "", 0.0), numa_node=1) for number in range(10_000)))
    assert len(device_list(pool).encoded) < MAX_MESSAGE_BYTES

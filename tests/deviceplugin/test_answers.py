"""What is encoded by hand is what the library makes of the same message."""

from hypothesis import given
from hypothesis import strategies as st

from npu_agent.api.v1beta1 import AllocateResponse, CdiDevice, ContainerAllocateResponse, DeviceSpec
from npu_agent.api.v1beta1 import Mount as MountMessage
from npu_agent.core.accelerator import ContainerEdits, DeviceNode, Mount
from npu_agent.deviceplugin.answers import allocate_answer

PATHS = st.text("/dev0ǝ", max_size=300)
PAIRS = st.dictionaries(PATHS, PATHS, max_size=3).map(lambda entries: tuple(entries.items()))
EDITS = st.builds(
    ContainerEdits,
    st.lists(st.builds(DeviceNode, PATHS, PATHS, st.sampled_from(["r", "rw", "rwm"]), st.booleans()), max_size=40).map(tuple),
    st.lists(st.builds(Mount, PATHS, PATHS, st.booleans()), max_size=3).map(tuple),
    PAIRS,
    st.lists(PATHS, max_size=2).map(tuple),
    PAIRS,
)


@given(st.lists(EDITS, max_size=3))
def test_the_answer_to_an_allocation_is_read_as_what_each_container_needs(containers: list[ContainerEdits]) -> None:
    assert AllocateResponse.parse(allocate_answer(containers).SerializeToString()) == AllocateResponse(
        container_responses=[
            ContainerAllocateResponse(
                envs=dict(edits.environment),
                mounts=[
                    MountMessage(container_path=mount.container_path, host_path=mount.host_path, read_only=mount.read_only)
                    for mount in edits.mounts
                ],
                devices=[
                    DeviceSpec(container_path=node.container_path, host_path=node.host_path, permissions=node.permissions)
                    for node in edits.device_nodes
                ],
                annotations=dict(edits.annotations),
                cdi_devices=[CdiDevice(name=name) for name in edits.cdi_devices],
            )
            for edits in containers
        ]
    )

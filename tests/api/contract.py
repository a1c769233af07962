"""kubelet's messages as its own files spell them, for google.protobuf: an implementation that shares nothing with npu_agent/api."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

V1BETA1 = """
DevicePluginOptions: bool pre_start_required = 1; bool get_preferred_allocation_available = 2
RegisterRequest: string version = 1; string endpoint = 2; string resource_name = 3; DevicePluginOptions options = 4
Empty:
ListAndWatchResponse: repeated Device devices = 1
TopologyInfo: repeated NUMANode nodes = 1
NUMANode: int64 ID = 1
Device: string ID = 1; string health = 2; TopologyInfo topology = 3
PreStartContainerRequest: repeated string devices_ids = 1
PreStartContainerResponse:
PreferredAllocationRequest: repeated ContainerPreferredAllocationRequest container_requests = 1
ContainerPreferredAllocationRequest: repeated string available_deviceIDs = 1; repeated string must_include_deviceIDs = 2; int32 allocation_size = 3
PreferredAllocationResponse: repeated ContainerPreferredAllocationResponse container_responses = 1
ContainerPreferredAllocationResponse: repeated string deviceIDs = 1
AllocateRequest: repeated ContainerAllocateRequest container_requests = 1
ContainerAllocateRequest: repeated string devices_ids = 1
CDIDevice: string name = 1
AllocateResponse: repeated ContainerAllocateResponse container_responses = 1
ContainerAllocateResponse: map envs = 1; repeated Mount mounts = 2; repeated DeviceSpec devices = 3; map annotations = 4; repeated CDIDevice cdi_devices = 5
Mount: string container_path = 1; string host_path = 2; bool read_only = 3
DeviceSpec: string container_path = 1; string host_path = 2; string permissions = 3
"""  # noqa: E501 (a message is a line)

V1 = """
ListPodResourcesRequest:
ListPodResourcesResponse: repeated PodResources pod_resources = 1
AllocatableResourcesRequest:
AllocatableResourcesResponse: repeated ContainerDevices devices = 1; repeated int64 cpu_ids = 2; repeated ContainerMemory memory = 3
GetPodResourcesRequest: string pod_name = 1; string pod_namespace = 2
GetPodResourcesResponse: PodResources pod_resources = 1
PodResources: string name = 1; string namespace = 2; repeated ContainerResources containers = 3
ContainerResources: string name = 1; repeated ContainerDevices devices = 2; repeated int64 cpu_ids = 3; repeated ContainerMemory memory = 4; repeated DynamicResource dynamic_resources = 5
ContainerDevices: string resource_name = 1; repeated string device_ids = 2; TopologyInfo topology = 3
ContainerMemory: string memory_type = 1; uint64 size = 2; TopologyInfo topology = 3
TopologyInfo: repeated NUMANode nodes = 1
NUMANode: int64 ID = 1
DynamicResource: string claim_name = 2; string claim_namespace = 3; repeated ClaimResource claim_resources = 4
ClaimResource: repeated CDIDevice cdi_devices = 1; string driver_name = 2; string pool_name = 3; string device_name = 4; optional string share_id = 5
CDIDevice: string name = 1
"""  # noqa: E501

SCALARS = ("string", "bool", "int32", "int64", "uint64")


@dataclass(frozen=True, slots=True)
class Field:
    """`type` is a scalar's or a message's name, or "map" for one of strings. `label` is "", "repeated" or "optional"."""

    name: str
    number: int
    type: str
    label: str


def fields_of(table: str) -> dict[str, list[Field]]:
    messages: dict[str, list[Field]] = {}
    for line in table.strip().splitlines():
        message, _, rest = line.partition(":")
        messages[message] = []
        for text in filter(None, (part.strip() for part in rest.split(";"))):
            *label, type_name, name, _, number = text.split()
            messages[message].append(Field(name, int(number), type_name, "".join(label)))
    return messages


MESSAGES: Mapping[str, list[Field]] = {
    f"{package}.{name}": fields for package, table in (("v1beta1", V1BETA1), ("v1", V1)) for name, fields in fields_of(table).items()
}
"""The fields of each message, by package and name."""


def _file(package: str) -> descriptor_pb2.FileDescriptorProto:
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    for full_name, fields in MESSAGES.items():
        if not full_name.startswith(f"{package}."):
            continue
        message = file.message_type.add(name=full_name.removeprefix(f"{package}."))
        for field in fields:
            added = message.field.add(name=field.name, number=field.number, label=kinds.LABEL_OPTIONAL)
            if field.label == "repeated":
                added.label = kinds.LABEL_REPEATED
            if field.label == "optional":
                added.proto3_optional = True
                added.oneof_index = len(message.oneof_decl)
                message.oneof_decl.add(name=f"_{field.name}")
            if field.type in SCALARS:
                added.type = getattr(kinds, f"TYPE_{field.type.upper()}")
            elif field.type == "map":
                entry = message.nested_type.add(name=f"{field.name.capitalize()}Entry")
                entry.options.map_entry = True
                for number, name in enumerate(("key", "value"), 1):
                    entry.field.add(name=name, number=number, label=kinds.LABEL_OPTIONAL, type=kinds.TYPE_STRING)
                added.label, added.type, added.type_name = kinds.LABEL_REPEATED, kinds.TYPE_MESSAGE, f".{full_name}.{entry.name}"
            else:
                added.type, added.type_name = kinds.TYPE_MESSAGE, f".{package}.{field.type}"
    return file


_POOL = descriptor_pool.DescriptorPool()
for _package in ("v1beta1", "v1"):
    _POOL.AddSerializedFile(_file(_package).SerializeToString())


def google_message(name: str, value: Mapping[str, Any]) -> Message:
    """Return the message `name` of google.protobuf with the fields of `value`, messages in it being mappings again."""
    return message_factory.GetMessageClass(_POOL.FindMessageTypeByName(name))(**value)

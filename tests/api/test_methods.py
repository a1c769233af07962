"""The services are where kubelet looks for them."""

import pytest
from grpclib.const import Cardinality

from npu_agent.api.v1 import PodResourcesListerBase
from npu_agent.api.v1beta1 import DevicePluginBase, RegistrationBase

UNARY, STREAM = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM


@pytest.mark.parametrize(
    ("service", "methods"),
    [
        (
            RegistrationBase(),
            {"/v1beta1.Registration/Register": (UNARY, "RegisterRequest", "Empty")},
        ),
        (
            DevicePluginBase(),
            {
                "/v1beta1.DevicePlugin/GetDevicePluginOptions": (UNARY, "Empty", "DevicePluginOptions"),
                "/v1beta1.DevicePlugin/ListAndWatch": (STREAM, "Empty", "ListAndWatchResponse"),
                "/v1beta1.DevicePlugin/GetPreferredAllocation": (UNARY, "PreferredAllocationRequest", "PreferredAllocationResponse"),
                "/v1beta1.DevicePlugin/Allocate": (UNARY, "AllocateRequest", "AllocateResponse"),
                "/v1beta1.DevicePlugin/PreStartContainer": (UNARY, "PreStartContainerRequest", "PreStartContainerResponse"),
            },
        ),
        (
            PodResourcesListerBase(),
            {
                "/v1.PodResourcesLister/List": (UNARY, "ListPodResourcesRequest", "ListPodResourcesResponse"),
                "/v1.PodResourcesLister/GetAllocatableResources": (UNARY, "AllocatableResourcesRequest", "AllocatableResourcesResponse"),
                "/v1.PodResourcesLister/Get": (UNARY, "GetPodResourcesRequest", "GetPodResourcesResponse"),
            },
        ),
    ],
    ids=["Registration", "DevicePlugin", "PodResourcesLister"],
)
def test_each_method_has_kubelets_path_and_messages(
    service: RegistrationBase | DevicePluginBase | PodResourcesListerBase, methods: dict[str, tuple[Cardinality, str, str]]
) -> None:
    served = {
        path: (handler.cardinality, handler.request_type.__name__, handler.reply_type.__name__)
        for path, handler in service.__mapping__().items()
    }
    assert served == methods

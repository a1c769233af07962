"""Register: telling kubelet of our socket."""

from pathlib import Path

import anyio
from grpclib.client import Channel
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from npu_agent.api.v1beta1 import DevicePluginOptions, RegisterRequest, RegistrationStub
from npu_agent.deviceplugin.errors import KubeletUnreachable, RegistrationRefused

API_VERSION = "v1beta1"

REGISTER_TIMEOUT_S = 16.0
"""kubelet dials us for up to 10 s while Register is open, and 1.35 and later end their dial with our deadline: it must be longer."""


async def reach(kubelet_socket: Path) -> None:
    """Connect to kubelet's socket and let go of it. Raises KubeletUnreachable.

    It costs nothing, where a Register needs a socket of ours made for it.
    """
    try:
        with anyio.fail_after(REGISTER_TIMEOUT_S):
            stream = await anyio.connect_unix(kubelet_socket)
            await stream.aclose()
    except (OSError, TimeoutError) as error:
        raise KubeletUnreachable(f"nobody answers on {kubelet_socket} ({_text(error)}): kubelet is stopped or starting") from error


async def register(kubelet_socket: Path, resource: str, endpoint: str, *, pre_start: bool) -> None:
    """Register the socket file `endpoint` for `resource`.

    While this runs kubelet connects to the endpoint and asks its options, so the caller's loop must be free. It must not be
    cancelled short of the agent's end: newer kubelets would cancel their dial and forget the registration before it.

    Raises:
        KubeletUnreachable: nobody listens, or the connection ended before an answer.
        RegistrationRefused: kubelet's answer is an error.
    """
    channel = Channel(path=str(kubelet_socket))
    request = RegisterRequest(
        version=API_VERSION,
        endpoint=endpoint,
        resource_name=resource,
        options=DevicePluginOptions(pre_start_required=pre_start, get_preferred_allocation_available=True),
    )
    try:
        await RegistrationStub(channel).register(request, timeout=REGISTER_TIMEOUT_S)
    except OSError as error:
        if isinstance(error, TimeoutError):
            raise RegistrationRefused(f"no answer within {REGISTER_TIMEOUT_S:g} s") from error
        raise KubeletUnreachable(f"nobody answers on {kubelet_socket} ({_text(error)}): kubelet is stopped or starting") from error
    except StreamTerminatedError as error:
        raise KubeletUnreachable(f"kubelet ended the connection to {kubelet_socket} before it answered: {error}") from error
    except GRPCError as error:
        raise RegistrationRefused(f"{error.status.name}: {error.message}") from error
    except ProtocolError as error:
        raise RegistrationRefused(f"what listens on {kubelet_socket} does not speak gRPC: {error}") from error
    finally:
        channel.close()


def _text(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__

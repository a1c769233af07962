"""Register: telling kubelet of our socket."""

import random
import time
from pathlib import Path

import anyio
from grpclib.exceptions import GRPCError, ProtocolError, StreamTerminatedError

from npu_agent.api.v1beta1 import DevicePluginOptions, RegisterRequest, RegistrationStub
from npu_agent.core.text import printable
from npu_agent.deviceplugin.errors import DevicePluginError, KubeletDenied, KubeletUnreachable, RegistrationRefused
from npu_agent.deviceplugin.folder import denied
from npu_agent.rpc.calls import call
from npu_agent.rpc.channel import BoundedChannel

API_VERSION = "v1beta1"

REGISTER_TIMEOUT_S = 16.0
"""kubelet dials us for up to 10 s while Register is open, and 1.35 and later end their dial with our deadline: it must be longer."""

MOST_OF_A_REFUSAL = 1000
"""Characters of kubelet's text that are repeated."""

_TOLD_LESS_S = 1.0
"""By how much less kubelet may be told: grpclib sends whole seconds, rounded down."""


class KubeletConnection:
    """A connection to kubelet's registration socket. Entering it raises KubeletUnreachable if nobody answers.

    kubelet cleans its folder before it listens. So a socket that is made while the connection holds is not removed by this kubelet,
    and a `Register` that reached a newer one would fail for ten seconds for want of our socket.
    """

    def __init__(self, kubelet_socket: Path) -> None:
        self._path = kubelet_socket
        self._channel = BoundedChannel(kubelet_socket)

    async def __aenter__(self) -> "KubeletConnection":
        try:
            with anyio.fail_after(REGISTER_TIMEOUT_S):
                # grpclib connects with the first call only; this is what the call would do first.
                await self._channel.__connect__()
        except OSError as error:
            self._channel.close()
            raise self._unreachable(error) from error
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self._channel.close()

    async def register(self, resource: str, endpoint: str, *, pre_start: bool) -> None:
        """Register the socket file `endpoint` for `resource`.

        While this runs kubelet connects to the endpoint and asks its options, so the caller's loop must be free. It must not be
        cancelled short of the agent's end: newer kubelets would cancel their dial and forget the registration before it.

        Raises:
            KubeletDenied: we may not connect.
            KubeletUnreachable: the connection ended before an answer.
            RegistrationRefused: kubelet's answer is an error, or does not come in time.
        """
        request = RegisterRequest(
            version=API_VERSION,
            endpoint=endpoint,
            resource_name=resource,
            options=DevicePluginOptions(pre_start_required=pre_start, get_preferred_allocation_available=True),
        )
        told_s = REGISTER_TIMEOUT_S - _TOLD_LESS_S
        began = time.monotonic()
        try:
            await call(RegistrationStub(self._channel).register(request, timeout=REGISTER_TIMEOUT_S))
        except (TimeoutError, StreamTerminatedError) as error:
            # kubelet 1.34 and later reset the call when the time that they were told is over, before ours is.
            if time.monotonic() - began >= told_s:
                raise RegistrationRefused(f"no answer within {told_s:g} s") from error
            raise KubeletUnreachable(f"kubelet ended the connection to {self._path} before it answered: {printable(str(error))}") from error
        except OSError as error:
            raise self._unreachable(error) from error
        except GRPCError as error:
            raise RegistrationRefused(f"{error.status.name}: {printable(error.message or '', MOST_OF_A_REFUSAL)}") from error
        except ProtocolError as error:
            raise RegistrationRefused(f"what listens on {self._path} does not speak gRPC: {printable(str(error))}") from error

    def _unreachable(self, error: OSError) -> DevicePluginError:
        if isinstance(error, PermissionError):
            return KubeletDenied(denied(self._path, error))
        text = error.strerror or str(error) or type(error).__name__
        return KubeletUnreachable(f"nobody answers on {self._path} ({text}): kubelet is stopped or starting")


def chance() -> float:
    """Return a number from 0 to 1 by chance, by which nodes that lost their kubelets together come back apart."""
    return random.random()  # noqa: S311 - nothing secret hangs on it

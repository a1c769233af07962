"""What can go wrong between us and kubelet."""

from npu_agent.core.errors import NpuAgentError


class DevicePluginError(NpuAgentError):
    """The device plugin cannot do what was asked; the text says what to do."""


class KubeletUnreachable(DevicePluginError):
    """Nobody listens on kubelet's socket: kubelet is down, or between creating the socket and serving it."""


class KubeletDenied(DevicePluginError):
    """kubelet's folder or its socket may not be used; the text says what was denied, to whom, and what to do."""


class RegistrationRefused(DevicePluginError):
    """kubelet answered Register with an error, or did not answer in time. The text is kubelet's, or says so."""


class OwnSocketBroken(DevicePluginError):
    """Our own socket cannot be made or does not answer, so registering it would fail and cost a registration that works."""


class FolderUnlinked(DevicePluginError):
    """The folder of device plugins was deleted below our mount: no new kubelet can ever be seen from here."""

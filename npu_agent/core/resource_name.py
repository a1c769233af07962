"""Which names kubelet takes for an extended resource."""

import re

from npu_agent.core.text import printable

_DOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_MAX_DOMAIN = 253 - len("requests.")
"""kubelet checks the name with "requests." before it, since that is how a quota calls the resource."""
_MAX_NAME = 63
_MAX_SAID = 300
"""Characters of a wrong name that are repeated: more than a right one has."""


def resource_name_mistake(name: str) -> str:
    """Return why kubelet would refuse to register `name` ("the ResourceName … is invalid"), or an empty text if it would not.

    The rules are those of IsExtendedResourceName in Kubernetes' pkg/apis/core/v1/helper.
    """
    domain, slash, last = name.partition("/")
    said, said_domain, said_last = (printable(text, _MAX_SAID) for text in (name, domain, last))
    if not slash:
        return f'expected DOMAIN/NAME, such as furiosa.ai/npu, got "{said}"; without a domain it is a resource of Kubernetes itself'
    if "kubernetes.io/" in name:
        return f'"{said}" is in a domain of Kubernetes itself; use your own, such as furiosa.ai/npu'
    if name.startswith("requests."):
        return f'"{said}" begins with "requests.", which quotas use; leave it out'
    if not _DOMAIN.fullmatch(domain) or len(domain) > _MAX_DOMAIN:
        return f'"{said_domain}" is not a domain of at most {_MAX_DOMAIN} lower case letters, digits, "-" and "."'
    if not _NAME.fullmatch(last) or len(last) > _MAX_NAME:
        return f'"{said_last}" is not a name of at most {_MAX_NAME} letters, digits, "-", "_" and ".", with a letter or digit at both ends'
    return ""

"""What the simulated kubelet does wrong on demand. Nothing at first."""

from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RegisterFault:
    """What goes wrong with one Register call.

    `delay_s` passes before kubelet looks at the call. `refuse_with` is the text of the error that is the answer. With
    `after_acceptance` the registration is carried out all the same and only the answer is lost: the stream opens, the caller sees
    the error. With `hang` no answer comes at all.
    """

    delay_s: float = 0.0
    refuse_with: str = ""
    after_acceptance: bool = False
    hang: bool = False


@dataclass(slots=True)
class Faults:
    """Faults that are to come. `register` holds one for each of the next calls; `bind_to_listen_s` is for each start to come.

    Between bind and listen kubelet's socket file is there and refuses whoever connects.
    """

    register: deque[RegisterFault | None] = field(default_factory=deque)
    bind_to_listen_s: float = 0.0

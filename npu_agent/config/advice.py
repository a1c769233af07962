"""What a configuration may say and hardly means to."""

import msgspec

from npu_agent.config.configuration import Configuration
from npu_agent.core.selection import ANYTHING
from npu_agent.schema.mistakes import Mistake


def remarks(configuration: Configuration) -> list[Mistake]:
    """Return the resources that get no accelerator, since an earlier one takes all that they select."""
    found = []
    first: dict[bytes, int] = {}
    for index, spec in enumerate(configuration.resources):
        own = msgspec.json.encode(spec.selector, order="sorted")
        earlier = min((first[selector] for selector in (own, _ANYTHING) if selector in first), default=None)
        if earlier is None:
            first[own] = index
        else:
            text = f"gets no accelerator: resources[{earlier}] selects the same ones and comes first; put the narrower one first"
            found.append(Mistake(f"resources[{index}]", text))
    return found


_ANYTHING = msgspec.json.encode(ANYTHING, order="sorted")

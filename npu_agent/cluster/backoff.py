"""When to try again, and when to look again although nothing happened, so that a whole cluster of agents never does it at once."""

from collections.abc import Callable

FIRST_S = 1.0
MOST_S = 60.0
"""Between two attempts while the API server is away. A thousand agents that wait so long each come back over as many seconds."""

MOST_REFUSED_S = 600.0
"""Between two attempts where it answers that it will not: only an administrator can change that."""

LOOK_AGAIN_S = 3600.0
"""Between two looks at what the node says, although nothing has changed."""

Random = Callable[[], float]
"""Returns a number from 0 to below 1."""


def delay_s(failures: int, random: Random, *, refused: bool = False, retry_after_s: float = 0.0) -> float:
    """Return how long to wait after so many (≥ 1) failures in a row.

    It doubles with each, and from half of that on it is up to chance, so that those who failed together do not come back together.
    Nobody comes back before `retry_after_s`, nor all of them right then.
    """
    most = MOST_REFUSED_S if refused else MOST_S
    whole = min(most, FIRST_S * 2.0 ** min(failures - 1, 16))
    return max(whole * (0.5 + random() / 2), retry_after_s * (1 + random()))


def look_again_s(random: Random, whole_s: float = LOOK_AGAIN_S) -> float:
    """Return how long until the next look: `whole_s` or up to a tenth more."""
    return whole_s * (1 + random() / 10)

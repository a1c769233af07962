"""Text of others made fit to be shown: what cards, drivers, pods, files and peers say of themselves must not steer a terminal or a log."""

import re

MOST = 300


def printable(text: str, most: int = MOST) -> str:
    r"""Return `text` in one line of at most `most` (≥ 1) characters, all of which `str.isprintable` holds for.

    Every other character becomes its escape: controls (`\n`, `\x1b`, `\x9b`), line and paragraph separators (`\u2028`), what changes
    the direction of writing (`\u202e`), and lone surrogates (`\udcff`), by which Python stands for bytes that are no text. What is too
    long is cut between two characters and ends with "…". Printable text that is short enough is returned as it is, so to apply it
    twice does no harm.
    """
    if len(text) <= most and text.isprintable():
        return text
    # A character never becomes shorter, so what lies behind these cannot be in the result.
    pieces = [escaped(character) for character in text[: most + 1]]
    if sum(map(len, pieces)) <= most:
        return "".join(pieces)
    room = most - 1
    kept: list[str] = []
    for piece in pieces:
        room -= len(piece)
        if room < 0:
            break
        kept.append(piece)
    return "".join(kept) + "…"


def escaped(text: str) -> str:
    """Return `text` with every character that is not printable as its escape, however long that is."""
    if text.isprintable():
        return text
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode("ascii") for character in text)


def natural(text: str) -> list[tuple[int, int, str]]:
    """Return what sorts texts as people count: 2 before 10. A PCI address, which counts in base 16, stays one text."""
    pieces = re.split(r"([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}\.[0-7]|[0-9]+)", text)
    return [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in pieces]

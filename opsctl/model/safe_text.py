"""Text from outside, made harmless to look at."""

from __future__ import annotations

# Joiners shape Hindi conjuncts and are no danger to a terminal.
_SHOWN_THOUGH_UNPRINTABLE = "\u200c\u200d"
_NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def shown(text: str | bytes) -> str:
    """One line that a terminal shows and does not obey.

    Control characters, line and paragraph separators, marks that turn the direction of writing, other
    invisible characters and bytes that are no UTF-8 are written out (``\\x1b``, ``\\n``, ``\\u202e``,
    ``\\xff``). Always encodable as UTF-8, and shown again unchanged. Not reversible: a name may hold a
    backslash of its own.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if text.isprintable():
        return text
    return "".join(char if _is_harmless(char) else written(char) for char in text)


def shown_lines(text: str) -> str:
    """Text for a page or a letter: as ``shown``, with its lines kept as lines."""
    return "\n".join(shown(line.expandtabs(4)) for line in text.replace("\r\n", "\n").split("\n"))


def _is_harmless(char: str) -> bool:
    return char.isprintable() or char in _SHOWN_THOUGH_UNPRINTABLE


def written(char: str) -> str:
    """One character as its escape."""
    code = ord(char)
    if char in _NAMED:
        return _NAMED[char]
    if 0xDC80 <= code <= 0xDCFF:  # a byte that was no UTF-8, as Python carries it
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"

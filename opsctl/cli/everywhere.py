"""The options that work everywhere, found wherever they stand on a command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from opsctl.errors import UsageError

FLAGS = frozenset({"--json", "--yes", "--dry-run", "--quiet", "-q", "--verbose", "-v", "--break-glass", "--version"})
CONFIG = "--config"
SENTENCE = (
    "Options that work everywhere: --config DIR --json --yes --dry-run --quiet/-q --verbose/-v --break-glass --version"
)

ValuesAfter = Callable[[Sequence[str], str], int]


def hoist(words: Sequence[str], values_after: ValuesAfter) -> tuple[list[str], list[str]]:
    """Split a command line into the options that work everywhere, and the rest in its order.

    ``--config=DIR`` becomes two words. Nothing is taken from behind ``--``, nor from the place where
    another option expects its value: ``values_after(command words so far, option)`` says how many values
    that option takes, and is called only where it matters. Raises UsageError for a ``--config`` without a
    directory.
    """
    front: list[str] = []
    rest: list[str] = []
    command: list[str] = []
    left = list(words)
    while left:
        word = left.pop(0)
        if word == "--":
            return front, [*rest, word, *left]
        if is_flag(word):
            front.append(word)
        elif word == CONFIG or word.startswith(f"{CONFIG}="):
            directory = word.partition("=")[2] if "=" in word else left.pop(0) if left else ""
            if not directory:
                raise UsageError(f"{CONFIG} needs a directory", hint=f"{CONFIG} DIR, or {CONFIG}=DIR")
            front += [CONFIG, directory]
        elif word.startswith("-") and len(word) > 1:
            rest.append(word)
            if "=" not in word and any(map(_is_ours, left[:2])):
                for _ in range(min(values_after(command, word), len(left))):
                    rest.append(left.pop(0))
        else:
            command.append(word)
            rest.append(word)
    return front, rest


def is_flag(word: str) -> bool:
    """Whether a word is one of the flags, or several short ones in one word (``-qv``)."""
    together = len(word) > 2 and word[0] == "-" and all(f"-{char}" in FLAGS for char in word[1:])
    return word in FLAGS or together


def has(front: Sequence[str], name: str) -> bool:
    """Whether a flag was given, by its long name, as that or as its letter."""
    letter = {"quiet": "q", "verbose": "v"}.get(name)
    values = {index + 1 for index, word in enumerate(front) if word == CONFIG}
    given = [word for index, word in enumerate(front) if index not in values]
    letters = "".join(word for word in given if not word.startswith("--"))
    return f"--{name}" in given or (letter is not None and letter in letters)


def _is_ours(word: str) -> bool:
    return is_flag(word) or word in (CONFIG, "--") or word.startswith(f"{CONFIG}=")

"""From a word in a playbook to its action: the module of that name, or a package's entry point."""

from __future__ import annotations

import functools
import importlib
import re
from importlib.metadata import entry_points
from pathlib import Path

from opsctl.actions.interface import Action
from opsctl.errors import ConfigError
from opsctl.model.fields import meant

_NOT_WORDS = {"__init__", "interface", "registry", "restoring"}


def words() -> list[str]:
    """Every word that a playbook can use."""
    own = {path.stem for path in Path(__file__).parent.glob("*.py")} - _NOT_WORDS
    return sorted(own | {found.name for found in entry_points(group="opsctl.actions")})


@functools.cache
def action(word: str) -> Action:
    """The action of a word; ConfigError where there is none."""
    if word in words():
        module = None
        if re.fullmatch(r"[a-z][a-z0-9_]*", word) and (Path(__file__).parent / f"{word}.py").exists():
            module = importlib.import_module(f"opsctl.actions.{word}")
        else:
            found = next(iter(entry_points(group="opsctl.actions", name=word)))
            return found.load()()
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Action) and getattr(value, "word", None) == word:
                return value()
    raise ConfigError(f"there is no action {word!r}{meant(word, words())}", hint="opsctl explain lists them")

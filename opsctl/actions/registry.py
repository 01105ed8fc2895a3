"""From a word in a playbook to its action: the module of that name, or a package's entry point."""

from __future__ import annotations

import functools
import importlib
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from opsctl.actions.interface import Action
from opsctl.errors import ConfigError
from opsctl.model.fields import meant

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_NOT_WORDS = {
    "__init__", "accepting", "agreeing", "batching", "carrying", "collecting", "consenting", "fetching", "filling", "in_incident", "interface", "into_view", "isolating", "not_kept", "opened",
    "proving", "pruning", "registry", "removing", "reopening", "restoring", "signalling", "sound_copies", "stopping",
}


def words() -> list[str]:
    """Every word that a playbook can use."""
    return sorted(_own() | {found.name for found in _others()})


@functools.cache
def action(word: str) -> Action:
    """The action of a word; ConfigError where there is none."""
    if word in _own():
        module = importlib.import_module(f"opsctl.actions.{word}")
        for value in vars(module).values():
            if isinstance(value, type) and issubclass(value, Action) and getattr(value, "word", None) == word:
                return value()
    for found in _others():
        if found.name == word:
            return found.load()()
    raise ConfigError(f"there is no action {word!r}{meant(word, words())}", hint="opsctl explain lists them")


def _own() -> set[str]:
    return {path.stem for path in Path(__file__).parent.glob("*.py")} - _NOT_WORDS


def _others() -> Iterable[EntryPoint]:
    # It looks through every installed package, which takes longer than loading a configuration.
    from importlib.metadata import entry_points

    return entry_points(group="opsctl.actions")

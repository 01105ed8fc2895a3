"""What every source of a configuration has, whatever its kind, and how any part names its secrets."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import Any, Literal

from opsctl.model.config_promotion import Promotion
from opsctl.model.fields import NOT_A_VALUE, WAYS, Command, Duration, Mistake, Name, Part, either, meant, shown
from opsctl.model.part import Field
from opsctl.model.secrets import SecretRef

_PLACE = re.compile(r"\$\{([^}]*)\}")


def secret_keys(*prefixes: str) -> dict[str, str]:
    """The keys that people try for a secret, each with the sentence they get."""
    return {prefix: f"{NOT_A_VALUE} {either(f'{prefix}_{way}' for way in WAYS)}" for prefix in prefixes}


def secret_ref(part: Part, prefix: str, label: str) -> SecretRef | None:
    """Where the secret of the keys ``prefix_…`` is found; None where there is none."""
    file, command, env = (getattr(part, f"{prefix}_{way}") for way in WAYS)
    if file is None and command is None and env is None:
        return None
    return SecretRef(label=label, file=file, command=command, env=env)


class SourcePart(Part):
    """What the sources of all kinds have in common. The key of the entry is its name."""

    host: Name | None = Field(
        default=None,
        description="Name of the host that it is on, reached over SSH; by default it is on this machine.",
    )
    run: Literal["controller", "host"] | None = Field(
        default=None,
        description="Where restic runs, for a source with `host`. `host`, always so for `paths`: restic on that machine, into a "
        "repository that holds nothing of any other. `controller`, always so for the rest: the dump is made there and "
        "streams through SSH to restic on this machine.",
    )
    before: Command | None = Field(
        default=None,
        description="Hook: a command, as a list of words, that is run before the source is looked at. Where it "
        "fails, the source is not backed up (20).",
    )
    after: Command | None = Field(
        default=None,
        description="Hook: a command that is run after it, also where the hook before it or the backup failed. "
        "Where it fails, the source counts as failed (20).",
    )
    hook_limit: Duration = Field(
        default=timedelta(minutes=10), description="A hook that takes longer is ended, and has failed."
    )

    promotion: Promotion | None = Field(
        default=None, description="How it comes into production, where that is not a rename: a source of kind `command`, or one on another host."
    )

    _name: str = ""

    @property
    def name(self) -> str:
        return self._name


def hook_mistakes(name: str, entry: Mapping[str, Any]) -> Iterator[Mistake]:
    """Hooks take no places: what they need is in their environment."""
    for key in ("before", "after"):
        for position, found in places(entry.get(key)):
            yield (
                ("sources", name, key, position),
                f"${{{shown(found)}}} is not filled in here; a hook finds OPSCTL_BACKUP, OPSCTL_SET and "
                "OPSCTL_SOURCE in its environment",
            )
    if entry.get("hook_limit") is not None and entry.get("before") is None and entry.get("after") is None:
        yield ("sources", name, "hook_limit"), "is for before and after, and neither is given"


def places(argv: Any) -> Iterator[tuple[int, str]]:
    """Every ``${name}`` in a list of words, with the position of its word."""
    for position, word in enumerate(argv if isinstance(argv, list | tuple) else ()):
        if isinstance(word, str):
            yield from ((position, found) for found in _PLACE.findall(word))


def unknown_places(
    place: tuple[str | int, ...], argv: Any, known: Iterable[str], *, otherwise: Mapping[str, str]
) -> Iterator[Mistake]:
    """``${name}`` that nothing fills in; ``otherwise`` says why one that people know has no place here."""
    names = list(known)
    for position, found in places(argv):
        if found in names:
            continue
        why = otherwise.get(found) or (
            f"is not filled in here{meant(found, names)}" if names else "is not filled in here"
        )
        yield (*place, position), f"${{{shown(found)}}} {why}"

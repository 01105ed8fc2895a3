"""What of a source's files tells of an attack by itself, and what tells nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from opsctl.model.fields import FilePath, Mistake, entries, shown
from opsctl.model.part import Strict

Canaries = Annotated[tuple[FilePath, ...], Strict(False)]

CANARIES = ("Files below `paths` that nobody has to touch, such as `/srv/portal/uploads/0000-register.docx`. `opsctl backup canaries "
            "--write` plants them; a set in which one changed or went is suspect by that alone. A `.docx`, a `.pdf` or a text.")

SEALED = ("Patterns of names of files that are encrypted on purpose, such as `*.gpg`: what is in them, and that others are renamed so, makes no "
          "set suspect.")


def canary_mistakes(data: Any) -> Iterator[Mistake]:
    """A canary that is in no set, or that cannot be planted, tells of nothing; ``data`` may have any shape."""
    for name, entry in entries(data, "sources"):
        found, paths = entry.get("canaries"), entry.get("paths")
        above = [path.rstrip("/") for path in paths if isinstance(path, str)] if isinstance(paths, list) else []
        for position, path in enumerate(found if isinstance(found, list) else ()):
            if isinstance(path, str) and not any(path.startswith(f"{one}/") for one in above):
                yield ("sources", name, "canaries", position), f"{shown(path)} is not below any of the paths"
        if found and entry.get("host") is not None:
            yield ("sources", name, "canaries"), "are for files of this machine: nothing is written to another one"

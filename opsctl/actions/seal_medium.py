"""seal_medium: what lies on a disk written down, hash by hash, and signed, before it is carried away."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from opsctl.actions.carrying import MediumParams, disk, folders, read_whole, require_mounted, sealed_words, some
from opsctl.actions.interface import Change, StateAction, World
from opsctl.errors import DamagedData, OpsError
from opsctl.model.media import NAMESPACE, Medium, Sealed, listed, read_list
from opsctl.model.quantities import counted, format_size
from opsctl.model.values import value
from opsctl.repositories import media


@value
class Seen:
    """``sealed``: this run has sealed it, and nothing came or went since. ``files`` and ``bytes`` lie there now."""

    medium: Medium
    sealed: bool
    files: int
    bytes: int


class SealMedium(StateAction[MediumParams, Seen]):
    """Reads everything that lies in the repositories on a disk, and keeps a signed list of the hashes, here and on the disk.

    with:
      medium  the name that it is registered under

    The list is one that `sha256sum -c` reads, in the folder `opsctl-media` of the disk, with a signature beside it
    (`ssh-keygen -Y verify`, namespace `medium@opsctl`).
    """

    word = "seal_medium"
    Params = MediumParams

    def locks(self, params: MediumParams) -> Sequence[str]:
        return (f"medium-{params.medium}",)

    def observe(self, params: MediumParams, world: World) -> Seen:
        entry = disk(params, world)
        root = require_mounted(entry, world)
        paths = media.files_of(root, folders(entry, world))
        beside = media.read_beside(root, entry.name)
        sealed = (entry.sealed is not None and entry.sealed.run == world.run and _names(entry, world) == {str(path) for path in paths}
                  and beside is not None and hashlib.sha256(beside[0]).hexdigest() == entry.sealed.digest)
        return Seen(entry, sealed, len(paths), sum((root / path).lstat().st_size for path in paths))

    def plan(self, params: MediumParams, seen: Seen) -> list[Change]:
        if seen.sealed:
            return []
        return [Change("seal", f"read the {counted(seen.files, 'file')} ({format_size(seen.bytes)}) on {params.medium} and seal the list of "
                               "their hashes")]

    def apply(self, params: MediumParams, change: Change, world: World) -> None:
        entry = disk(params, world)
        root = Path(str(entry.mount))
        found, size = read_whole(entry, root, world)
        if unreadable := [path for path, digest in found if digest == "unreadable"]:
            raise DamagedData(f"{entry.name} cannot be read: {some(unreadable)}", where=entry.name, details={"files": unreadable[:200]},
                              hint="take another disk, make its repositories and copy to it anew")
        content = listed(found)
        media.write_beside(root, entry.name, content, world.signatures.sign(content, NAMESPACE))
        world.media.put_list(entry.name, content)
        sealed = Sealed(hashlib.sha256(content).hexdigest(), len(found), size, world.now.isoformat(), world.run)
        world.media.put(replace(entry, sealed=sealed, wrong=None))

    def result(self, params: MediumParams, seen: Seen) -> Mapping[str, Any]:
        return {"medium": params.medium, "sealed": sealed_words(seen.medium) if seen.sealed else None}


def _names(entry: Medium, world: World) -> set[str]:
    try:
        return set(read_list(world.media.sealed_list(entry)))
    except (OpsError, ValueError):
        return set()

"""What the words about media have in common: which medium, and what lies on it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opsctl.actions.interface import Params, World
from opsctl.errors import SafetyRefusal, Unreachable
from opsctl.model.media import Differences, Medium
from opsctl.model.quantities import counted, format_size
from opsctl.model.snapshots import Progress
from opsctl.repositories import media
from opsctl.shells import mounting
from opsctl.shells.mounting import Mounted


class MediumParams(Params):
    """``medium``: the name of a registered one."""

    medium: str


def disk(params: MediumParams, world: World) -> Medium:
    """A registered disk. UsageError where there is none of that name, or it is a tape."""
    found: Medium = world.media.get(params.medium)
    if found.kind != "disk":
        raise SafetyRefusal(f"{found.name} is a tape and is not mounted", hint=f"opsctl media read {found.name} --into DIR")
    return found


def mounted(entry: Medium, world: World) -> Mounted | None:
    """How the disk is mounted; None where it is not. SafetyRefusal where another one is mounted in its place."""
    found = mounting.mounted_at(world.shell, str(entry.mount))
    if found is not None and found.uuid != entry.ident:
        raise SafetyRefusal(f"at {entry.mount} another file system is mounted ({found.uuid or found.filesystem}), not {entry.name} ({entry.ident})",
                            hint=f"unmount it: umount {entry.mount}", where=entry.name)
    return found


def require_mounted(entry: Medium, world: World) -> Path:
    """Where it is mounted. Unreachable (13) where it is not."""
    if mounted(entry, world) is None:
        raise Unreachable(f"{entry.name} is not mounted", hint=f"opsctl media mount {entry.name}", where=entry.name)
    return Path(str(entry.mount))


def folders(entry: Medium, world: World) -> list[Path]:
    """The folders of its repositories."""
    return [Path(world.config.repositories[name].url) for name in entry.repositories if name in world.config.repositories]


def read_whole(entry: Medium, root: Path, world: World) -> tuple[list[tuple[str, str]], int]:
    """Every file of its repositories with its hash, and how many bytes that were. Read from the disk, with progress."""
    paths = media.files_of(root, folders(entry, world))
    total = sum((root / path).lstat().st_size for path in paths)
    done = 0

    def on_bytes(count: int) -> None:
        nonlocal done
        done += count
        world.shell.check()
        world.progress(Progress(f"read {entry.name}", bytes_done=done, bytes_total=total))

    return list(media.hashes(root, paths, on_bytes)), total


def some(paths: Sequence[str], most: int = 3) -> str:
    return ", ".join(paths[:most]) + (f" and {len(paths) - most} more" if len(paths) > most else "")


def says(found: Differences) -> str:
    """``2 files changed (a, b); 1 file new (c)``; empty where all is the same."""
    kinds = (("changed", found.changed), ("missing", found.missing), ("new", found.new))
    return "; ".join(f"{counted(len(paths), 'file')} {word} ({some(paths)})" for word, paths in kinds if paths)


def sealed_words(entry: Medium) -> dict[str, Any] | None:
    """What was sealed, as JSON with the size in words."""
    if entry.sealed is None:
        return None
    return {"digest": entry.sealed.digest, "files": entry.sealed.files, "bytes": entry.sealed.bytes, "time": entry.sealed.time,
            "size": format_size(entry.sealed.bytes)}

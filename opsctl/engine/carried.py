"""What each set carries beside its manifest: the configuration without its secrets, and the journal so far."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from opsctl.engine.journal_files import read_head, segment_name, segments
from opsctl.errors import DamagedData, ProgramFailed
from opsctl.model.sets import SetView
from opsctl.repositories.whole import system_said_no

CONFIGURATION = "configuration"
JOURNAL = "journal"
PINNED = "repositories"
"""Which repositories the controller has pinned: a ledger for each, without the sets, which the repository itself tells."""

_PRIVATE = re.compile(rb"-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----|AGE-SECRET-KEY-1|PuTTY-User-Key-File-")
_LARGEST = 4 << 20


def opened_by_hosts(config: Any, repository: str) -> list[str]:
    """The hosts that open a repository themselves: whoever has one of them reads all that is in it."""
    listed = (source for backup in config.backups.values() if backup.repository == repository for source in backup.sources)
    found = (config.sources[name] for name in listed)
    return sorted({source.host for source in found if source.kind == "paths" and source.host is not None})


def configuration_files(config: Any) -> Iterator[tuple[str, Path]]:
    """What of the configuration directory is no secret, by its name in there: files, own playbooks, public keys, certificates."""
    directory = config.directory
    if directory is None:
        return
    found = [Path(file) for file in config.files]
    found += [*directory.glob("playbooks/*.yaml"), *directory.glob("keys/*.pub"), directory / "keys" / "trusted",
              *directory.glob("keys/rotations/*.json")]
    found += [Path(file) for file in sorted(set(_certificates(config.model_dump())))]
    for path in dict.fromkeys(found):
        if path.is_file() and path.is_relative_to(directory):
            yield str(path.relative_to(directory)), path


def _certificates(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key == "cacert" and isinstance(inner, str):
                yield inner
            else:
                yield from _certificates(inner)


def why_not(content: bytes) -> str | None:
    """Why a file must not leave this machine; None where nothing speaks against it."""
    if _PRIVATE.search(content):
        return "it holds a private key"
    return f"it is larger than {_LARGEST >> 20} MiB" if len(content) > _LARGEST else None


def put_configuration(config: Any, place: Path) -> dict[str, Any]:
    """Copy the configuration below ``place``: the SHA-256 of each file that went there, and why others did not."""
    files: dict[str, str] = {}
    left_out: dict[str, str] = {}
    for name, path in configuration_files(config):
        try:
            with path.open("rb") as file:
                content = file.read(_LARGEST + 1)
        except OSError as error:
            left_out[name] = f"it cannot be read: {error.strerror}"
            continue
        if reason := why_not(content):
            left_out[name] = reason
            continue
        target = place / name
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            target.write_bytes(content)
        except OSError as error:
            raise system_said_no(error, target, len(content)) from error
        files[name] = hashlib.sha256(content).hexdigest()
    return {"files": files, "left_out": left_out}


def put_journal(directory: Path, place: Path) -> None:
    """Copy the journal up to where ``HEAD`` says it goes. Segments that are full are linked: nothing writes to them any more.

    ProgramFailed where the journal cannot be read.
    """
    head = None
    try:
        head = read_head(directory)
        if head is None:
            return
        place.mkdir(mode=0o700)
        for number in segments(directory):
            name = segment_name(number)
            if number < head.segment:
                _link(directory / name, place / name)
            elif number == head.segment:
                _copy(directory / name, place / name, head.offset)
        (place / "HEAD").write_bytes(head.encode())
        if (directory / "adopted").is_dir():
            shutil.copytree(directory / "adopted", place / "adopted", copy_function=_link)
    except (OSError, ValueError, shutil.Error) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise system_said_no(error, place, head.offset if head else None) from error
        raise ProgramFailed(f"the journal in {directory} could not be put into the set: {error}",
                            hint="`opsctl journal verify` says what is wrong with it") from error


def vouched(directory: Path, view: SetView, others: Iterable[SetView], repository: str) -> dict[str, Any]:
    """What ``journal verify`` finds of a journal that came out of a set, with the manifests of the sets up to it as anchors.

    DamagedData where something is wrong with it, or where it ends before the line that the set's own manifest names.
    """
    from opsctl.engine.journal_verify import Anchor, verify

    own = view.record["journal"]
    anchors = [Anchor(said["seq"], said["hash"], f"set {one.backup}/{one.id} in {repository}, signed by {one.signer}")
               for one in (*others, view) if (said := one.record.get("journal")) and said["seq"] <= own["seq"]]
    verdict = verify(directory, anchors)
    wrong = [str(problem) for problem in verdict.problems]
    if not wrong and verdict.vouched_seq < own["seq"]:
        wrong = [f"it ends at seq {verdict.last_seq}, and the manifest names seq {own['seq']}"]
    if wrong:
        raise DamagedData(f"the journal in set {view.id} is not what was written: {'; '.join(wrong[:3])}",
                          hint=f"it lies in {directory}, not in view; an older set carries an older one",
                          where=f"{view.backup}/{view.id}", details={"problems": wrong[:100]})
    return {"lines": verdict.lines, "last_seq": verdict.last_seq, "vouched_from": verdict.vouched_from,
            "vouched_to": verdict.vouched_seq, "vouched_by": verdict.vouched_by, "notes": verdict.notes}


def put_pinned(ledgers: Path, place: Path) -> None:
    """What tells each repository from any other, so that a new controller takes no empty place for one of them."""
    (place / PINNED).mkdir(mode=0o700)
    for path in sorted(ledgers.glob("*.json")):
        with contextlib.suppress(OSError, ValueError):
            known = json.loads(path.read_text())
            pinned = {key: known[key] for key in ("id", "chunker", "config_sha256", "key") if known.get(key)}
            if {"id", "chunker"} <= set(pinned):
                (place / PINNED / path.name).write_text(json.dumps({**pinned, "sets": []}, indent=1, sort_keys=True) + "\n")


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _copy(source: Path, target: Path, size: int) -> None:
    with source.open("rb") as old, target.open("wb") as new:
        left = size
        while left > 0 and (block := old.read(min(1 << 20, left))):
            new.write(block)
            left -= len(block)

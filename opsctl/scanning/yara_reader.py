"""The process that reads hostile files with YARA's rules, apart from ours: what breaks it or holds it up breaks no run.

Run by its path, with one JSON document on standard input (``rules``: files; ``include``: folders; ``roots``: (name, folder);
``largest``: bytes; ``timeout``: seconds; ``after``: (name, path) of the last file of an earlier try). It writes JSON lines:
``mistakes``, or for each file ``at`` before it is read and what was found in it, and ``done`` last. Nothing of opsctl is in here.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import json
import os
import resource
import stat
import struct
import sys
from collections.abc import Iterator
from typing import Any

_MEBI = 1 << 20
#: Read at once, and hashed from memory where something is found.
_SMALL = 16 * _MEBI
_NOBODY = 65534
_READ_EVERYTHING = 1 << 2  # CAP_DAC_READ_SEARCH
_KEEP_RIGHTS, _NO_NEW_RIGHTS = 8, 38  # PR_SET_KEEPCAPS, PR_SET_NO_NEW_PRIVS
#: What rules of others expect to know of a file, beside its content.
_KNOWN = ("filename", "filepath", "extension", "filetype", "owner")


def main() -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    asked = json.load(sys.stdin)
    rules, mistakes = compiled(asked["rules"], asked["include"])
    if mistakes:
        say({"mistakes": mistakes})
        return
    confine()
    _Reading(rules, asked).run()


def confine() -> None:
    """Give up what root may do but read everything, for good; where the kernel gives us no right to do so, nothing is changed."""
    with open("/proc/self/status") as status:
        held = next(int(line.split()[1], 16) for line in status if line.startswith("CapPrm:"))
    if os.geteuid() or not held & _READ_EVERYTHING:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_KEEP_RIGHTS, 1, 0, 0, 0)
    try:
        os.setgroups([])
        os.setresgid(_NOBODY, _NOBODY, _NOBODY)
        os.setresuid(_NOBODY, _NOBODY, _NOBODY)
    except OSError:  # a namespace that has no such user
        return
    header = struct.pack("=Ii", 0x20080522, 0)
    if libc.capset(header, struct.pack("=6I", _READ_EVERYTHING, _READ_EVERYTHING, 0, 0, 0, 0)):
        raise OSError(ctypes.get_errno(), "rights could not be given up")
    libc.prctl(_NO_NEW_RIGHTS, 1, 0, 0, 0)


def say(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def compiled(files: list[str], include: list[str]) -> tuple[Any, list[str]]:
    """The rules of all files, each in a namespace of its own; otherwise every mistake as ``file:line: message``."""
    import yara_x

    compiler = yara_x.Compiler()
    for folder in include:
        compiler.add_include_dir(folder)
    for name in _KNOWN:
        compiler.define_global(name, "")
    mistakes = []
    for file in files:
        try:
            with open(file, encoding="utf-8") as stream:
                text = stream.read()
            compiler.new_namespace(file)
            compiler.add_source(text, origin=file)
        except yara_x.CompileError:
            pass
        except (OSError, UnicodeDecodeError) as error:
            mistakes.append(f"{file}:1: cannot be read: {error.strerror if isinstance(error, OSError) else 'it is not UTF-8'}")
    mistakes += [_told(each) for each in compiler.errors()]
    return (None, mistakes) if mistakes else (compiler.build(), [])


def _told(error: dict[str, Any]) -> str:
    label: dict[str, Any] = next(iter(error.get("labels", ())), {})
    more = f": {label['text']}" if label.get("text") else ""
    return f"{label.get('code_origin', '?')}:{error.get('line') or label.get('line') or 1}: {error.get('title', 'does not compile')}{more}"


class _Reading:
    """One pass over all roots, in an order that does not change between two passes over the same files."""

    def __init__(self, rules: Any, asked: dict[str, Any]) -> None:
        import yara_x

        self.late = yara_x.TimeoutError
        self.scanner = yara_x.Scanner(rules)
        self.scanner.set_timeout(asked["timeout"])
        self.scanner.max_matches_per_pattern(100)
        self.roots: list[tuple[str, str]] = asked["roots"]
        self.largest: int = asked["largest"]
        self.after = tuple(asked["after"]) if asked["after"] else None
        self.files = self.bytes = self.others = 0

    def run(self) -> None:
        for name, folder in self.roots:
            for path in self._below(name, os.fsencode(folder), b""):
                shown = os.fsdecode(path)
                if self.after is not None:
                    if self.after == (name, shown):
                        self.after = None
                    continue
                say({"at": [name, shown], "files": self.files, "bytes": self.bytes})
                self._file(name, os.path.join(os.fsencode(folder), path), shown)
        say({"done": True, "files": self.files, "bytes": self.bytes, "others": self.others, "lost": self.after is not None})

    def _below(self, name: str, root: bytes, folder: bytes) -> Iterator[bytes]:
        waiting = [folder]
        while waiting:
            below = waiting.pop()
            try:
                with os.scandir(os.path.join(root, below)) as found:
                    entries = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in found)
            except OSError as error:
                if self.after is None:
                    say({"unread": [name, os.fsdecode(below)], "kind": "unreadable", "why": f"folder: {error.strerror}"})
                continue
            waiting += [os.path.join(below, inner) for inner, is_folder in reversed(entries) if is_folder]
            yield from (os.path.join(below, inner) for inner, is_folder in entries if not is_folder)

    def _file(self, name: str, path: bytes, shown: str) -> None:
        try:
            if not stat.S_ISREG(os.lstat(path).st_mode):  # a link, whose target is no part of this; nothing else is opened
                self.others += 1
                return
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            say({"unread": [name, shown], "kind": "unreadable", "why": error.strerror})
            return
        with open(handle, "rb", buffering=0) as file:
            found = os.fstat(handle)
            self.files += 1
            self.bytes += found.st_size
            if found.st_size > self.largest:
                say({"unread": [name, shown], "kind": "large", "why": f"{found.st_size} bytes", "size": found.st_size,
                     "sha256": _digest(file)})
                return
            try:
                self._scan(name, shown, file, found.st_size)
            except self.late:
                say({"unread": [name, shown], "kind": "slow", "why": "not done in time", "size": found.st_size, "sha256": _digest(file)})
            except OSError as error:
                say({"unread": [name, shown], "kind": "unreadable", "why": error.strerror or str(error), "size": found.st_size})

    def _scan(self, name: str, shown: str, file: Any, size: int) -> None:
        base = os.path.basename(shown).encode("utf-8", "replace").decode()
        for key, known in zip(_KNOWN, (base, shown.encode("utf-8", "replace").decode(), os.path.splitext(base)[1]), strict=False):
            self.scanner.set_global(key, known)
        content = _all(file, size) if size <= _SMALL else None
        result = self.scanner.scan(content) if content is not None else self.scanner.scan_file(f"/proc/self/fd/{file.fileno()}")
        digest = ""
        for rule in result.matching_rules:
            digest = digest or (hashlib.sha256(content).hexdigest() if content is not None else _digest(file))
            first = min((match.offset for pattern in rule.patterns for match in pattern.matches), default=None)
            described = next((value for key, value in rule.metadata if key == "description"), "")
            say({"found": [name, shown], "rule": rule.identifier, "from": rule.namespace, "description": str(described)[:300],
                 "offset": first, "size": size, "sha256": digest})


def _all(file: Any, size: int) -> bytes:
    pieces = []
    while piece := file.read(_MEBI):
        pieces.append(piece)
        size -= len(piece)
        if size < -_SMALL:
            raise OSError(errno.EFBIG, "grew while it was read")
    return b"".join(pieces)


def _digest(file: Any) -> str:
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    digest = hashlib.sha256()
    while piece := file.read(_MEBI):
        digest.update(piece)
    return digest.hexdigest()


if __name__ == "__main__":
    main()

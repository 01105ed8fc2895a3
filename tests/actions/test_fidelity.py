"""Everything that a file system can hold comes back equal, in a folder and in a clean room; what cannot is named."""

from __future__ import annotations

import hashlib
import os
import stat
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.lab.places import open_folder
from tests.machine import Machine

ODD = (b"line\nbreak", b"\xff\xfe no text", b"\x1b[31mred\x1b[0m", b"a" * 255, "विवाह पंजी".encode(), b"star*[x]?\\", b" lead", b"-rf")
_EVERYBODY = 0xFFFFFFFF


def acl(user: int) -> bytes:
    """An access list as the kernel keeps it: one more user may read."""
    entries = ((1, 6, _EVERYBODY), (2, 4, user), (4, 4, _EVERYBODY), (16, 4, _EVERYBODY), (32, 0, _EVERYBODY))
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def fill(place: Path) -> None:
    """A tree with everything in it."""
    folder = place
    while len(str(folder)) - len(str(place)) < 260:
        folder = folder / ("deep " * 10)
    folder.mkdir(parents=True)
    (folder / "at the end").write_text("of a long path\n")
    (place / "plain").write_text("plain\n")
    os.link(place / "plain", place / "hard link")
    os.symlink("plain", place / "link")
    os.symlink("/nowhere", place / "dangling link")
    os.mkfifo(place / "pipe")
    with open(place / "sparse", "wb") as file:
        file.write(b"head")
        file.truncate(64 << 20)
    for name in ODD:
        with open(os.path.join(os.fsencode(place), name), "wb") as file:
            file.write(name)
    (place / "named").write_text("with attributes\n")
    os.setxattr(place / "named", "user.opsctl.note", "मूल".encode())
    os.setxattr(place / "named", "system.posix_acl_access", acl(os.geteuid() or 65534))
    (place / "old").write_text("old\n")
    os.utime(place / "old", ns=(1, 86_400_000_000_001))
    (place / "closed").mkdir()
    (place / "closed" / "inside").write_text("inside\n")
    if os.geteuid() == 0:
        (place / "owned").write_text("by somebody\n")
        os.chown(place / "owned", 12345, 54321)
        os.lchown(place / "link", 12345, 54321)
        (place / "runs as another").write_bytes(b"#!/bin/sh\n")
        os.chmod(place / "runs as another", 0o4755)
        os.setxattr(place / "runs as another", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
        os.mknod(place / "device", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    os.chmod(place / "closed", 0o500)


def described(place: Path) -> dict[bytes, Any]:
    """All that can be asked of each thing below a folder."""
    found: dict[bytes, Any] = {}
    root = os.fsencode(place)
    for folder, folders, names in os.walk(root):
        for path in (os.path.join(folder, name) for name in (*folders, *names)):
            one = os.lstat(path)
            what: dict[str, Any] = {"mode": stat.filemode(one.st_mode), "owner": (one.st_uid, one.st_gid), "mtime": one.st_mtime_ns,
                                    "xattrs": {name: os.getxattr(path, name, follow_symlinks=False)
                                               for name in os.listxattr(path, follow_symlinks=False)}}
            if stat.S_ISREG(one.st_mode):
                with open(path, "rb") as file:
                    what |= {"size": one.st_size, "names": one.st_nlink, "content": hashlib.file_digest(file, "sha256").hexdigest(),
                             "holes": one.st_blocks * 512 < one.st_size}
            elif stat.S_ISLNK(one.st_mode):
                what["target"] = os.readlink(path)
            elif stat.S_ISCHR(one.st_mode):
                what["device"] = one.st_rdev
            found[os.path.relpath(path, root)] = what
    return found


@pytest.mark.parametrize("into", ["folder", "room"])
def test_everything_comes_back_equal(machine: Machine, into: str) -> None:
    fill(machine.data)
    before = described(machine.data)
    assert before[b"sparse"]["holes"] and before[b"plain"]["names"] == 2
    with open_folder() as place:
        machine.configure(more=f"clean_room: {{place: {place}}}")
        machine("backup", "run", expect=0)
        if into == "folder":
            machine("restore", "set", "portal", "--into", str(place / "back"), expect=0)
            found = place / "back" / "files"
        else:
            step = machine.json("restore", "room", "portal", expect=0).result["steps"][0]["result"]
            found = Path(step["place"]) / "files" / "files"
        assert described(found / str(machine.data).lstrip("/")) == before


@pytest.mark.as_root("mounts a file system")
@pytest.mark.parametrize("into", [pytest.param("folder", marks=pytest.mark.full), "room"])
def test_what_is_not_kept_is_said_with_the_reason(machine: Machine, tmp_path: Path, into: str) -> None:
    """A file system that knows no attributes: restic says nothing of those that it left out."""
    (machine.data / "named").write_text("with attributes\n")
    (machine.data / "plain").write_text("without\n")
    os.setxattr(machine.data / "named", "user.opsctl.note", b"x")
    bare = tmp_path / "bare"
    bare.mkdir()
    machine.configure(more=f"clean_room: {{place: {bare}}}")
    machine("backup", "run", expect=0)
    subprocess.run(["mount", "-t", "ramfs", "ramfs", str(bare)], check=True, stdin=subprocess.DEVNULL)
    try:
        words = ["set", "portal", "--into", str(bare / "back")] if into == "folder" else ["room", "portal"]
        said = machine.json("restore", *words, expect=0)
        told = [one for one in said.document["warnings"] if "does not keep" in one]
        assert len(told) == 1 and "extended attributes: Operation not supported" in told[0] and "access lists (ACL)" in told[0]
    finally:
        subprocess.run(["umount", str(bare)], check=True, stdin=subprocess.DEVNULL)

"""Counting files as restic counts them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from opsctl.proofs.files import Count, compare, count, proof


def test_what_counts_and_what_does_not(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").write_bytes(b"123")
    os.link(tmp_path / "folder" / "file", tmp_path / "second name")
    os.symlink("folder", tmp_path / "link to a folder")
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener, open(tmp_path / "sparse", "wb") as sparse:
        listener.bind(str(tmp_path / "s"))
        sparse.truncate(1000)
        with open(os.fsencode(tmp_path) + b"/\xff\n" + b"n" * 253, "wb") as file:
            file.write(b"4567")
        assert count(tmp_path) == Count(4, 3 + 3 + 1000 + 4)
    assert count(tmp_path / "second name", tmp_path / "link to a folder", tmp_path / "folder") == Count(2, 6)


def test_a_place_that_is_not_there_is_no_empty_place(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        count(tmp_path / "gone")


def test_a_folder_that_vanishes_or_is_closed_is_named() -> None:
    found = compare(proof(2, 10), Count(2, 10, (("/x", "Permission denied"),)))
    assert [str(each) for each in found] == ["/x: expected a readable directory, found Permission denied"]


def test_differences_are_named() -> None:
    assert compare(proof(2, 10), Count(2, 10)) == []
    assert [(each.where, each.expected, each.found) for each in compare(proof(2, 10), Count(1, 11))] == [
        ("files", 2, 1),
        ("bytes", 10, 11),
    ]

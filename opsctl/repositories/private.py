"""Folders that are their owner's alone, with each one that had to be made above them."""

from __future__ import annotations

from pathlib import Path


def private_folder(path: Path) -> None:
    """Make a folder with mode 0700, and so what is missing above it: ``parents=True`` would leave that to the umask.

    What is there stays as it is. Raises OSError.
    """
    if path.is_dir():
        return
    if path.parent != path:
        private_folder(path.parent)
    path.mkdir(mode=0o700, exist_ok=True)

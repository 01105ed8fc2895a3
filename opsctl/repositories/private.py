"""Folders of our own: made for their owner alone, and removed with all that came to lie in them."""

from __future__ import annotations

import os
import shutil
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


def remove_tree(place: Path) -> None:
    """Remove a folder and all below it, also folders that came back from a backup without the right to write in them."""
    if os.geteuid():
        for folder, names, _ in os.walk(os.fsencode(place)):
            for name in names:
                inner = os.path.join(folder, name)
                if not os.path.islink(inner):
                    os.chmod(inner, 0o700)
    shutil.rmtree(place)

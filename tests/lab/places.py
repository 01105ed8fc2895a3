"""Folders for servers, which run under accounts of their own; pytest's are closed to all but their maker."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def open_folder() -> Iterator[Path]:
    """A new folder that every account may enter; gone afterwards, with all that is in it."""
    with tempfile.TemporaryDirectory(prefix="opsctl-test-", ignore_cleanup_errors=True) as folder:
        place = Path(folder)
        place.chmod(0o711)
        yield place

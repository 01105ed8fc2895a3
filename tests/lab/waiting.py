"""Waiting for a condition, never for a second."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIMIT = 120.0  # seconds until a condition must hold


def until(condition: Callable[[], Any], what: str = "what was waited for", limit: float = LIMIT) -> Any:
    """Wait for a condition; its value. AssertionError after ``limit`` seconds."""
    over = time.monotonic() + limit
    while not (found := condition()):
        assert time.monotonic() < over, f"never came: {what}"
        time.sleep(0.005)
    return found


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()[0] not in ("Z", "X")
    except (OSError, IndexError):
        return False

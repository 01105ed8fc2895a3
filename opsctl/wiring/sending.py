"""Notices to the addresses of the configuration, by a program of its own."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

SEND_LIMIT = 60.0  # seconds for all addresses together


def addresses(settings: Any, shell: Any) -> list[str]:
    """Every address of ``notify``; also those that stand where secrets do. Raises what reading a secret raises."""
    from opsctl.shells.secrets import read_secret

    hidden = read_secret(settings.secret, shell).reveal().splitlines() if settings.secret else []
    return [*settings.urls, *(line.strip() for line in hidden if line.strip() and not line.startswith("#"))]


def send(asked: Mapping[str, Any], shell: Any, limit: float = SEND_LIMIT) -> dict[str, Any]:
    """What ``shells.notice_sender`` answers within ``limit`` seconds."""
    from opsctl.shells import notice_sender

    # -P: beside it lie modules with names of the standard library.
    done = shell.run([sys.executable, "-P", str(Path(notice_sender.__file__))], stdin=json.dumps(asked).encode(), timeout=limit)
    answer: dict[str, Any] = json.loads(done.text)
    return answer


def label(url: str) -> str:
    """An address without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{(parts.hostname or '…')}"

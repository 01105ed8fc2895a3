"""A program of its own that sends one notice: a mail server that hangs must not hold the caller up.

Standard input: ``{"urls": […], "title": …, "body": …, "ping": url or null}``. Standard output: ``{"sent": [bool, …],
"pinged": bool or null}``, in the order of the addresses. Nothing that it prints holds an address. With ``"try": true``
nothing is sent: ``sent`` says which addresses can be made sense of.
"""

from __future__ import annotations

import json
import logging
import sys
import urllib.error
import urllib.request
from typing import Any

PING_LIMIT = 10.0  # seconds


def main() -> int:
    """Send, and say of each address whether it took the notice."""
    logging.disable(logging.CRITICAL)  # it would print addresses
    asked = json.load(sys.stdin)
    if asked.get("try"):
        json.dump({"sent": [_understood(url) for url in asked["urls"]], "pinged": None}, sys.stdout)
        return 0
    sent = [_send(url, asked["title"], asked["body"]) for url in asked["urls"]]
    json.dump({"sent": sent, "pinged": _ping(asked["ping"]) if asked.get("ping") else None}, sys.stdout)
    return 0


def _send(url: str, title: str, body: str) -> bool:
    import apprise

    service: Any = apprise.Apprise()
    return bool(service.add(url) and service.notify(title=title, body=body, body_format=apprise.NotifyFormat.TEXT))


def _understood(url: str) -> bool:
    import apprise

    return apprise.Apprise.instantiate(url) is not None


def _ping(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=PING_LIMIT) as answer:
            return 200 <= answer.status < 300
    except (OSError, ValueError, urllib.error.URLError):
        return False


if __name__ == "__main__":
    sys.exit(main())

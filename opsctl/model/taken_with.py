"""Which settings a source was captured with: captures of one set that were taken with others do not belong together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

#: Keys that change neither what is captured nor what it is compared with: a password that was mended, a slower hook.
_APART = frozenset({"password_file", "password_command", "password_env", "password_variable", "before", "after", "hook_limit",
                    "limit", "restore", "run", "canaries", "sealed"})


def settings(spec: Any) -> dict[str, str]:
    """A digest of each setting of a source (a pydantic model) that says what is captured; no value of it."""
    values: Mapping[str, Any] = spec.model_dump(mode="json")
    return {key: hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
            for key, value in values.items() if key not in _APART and not (key == "host" and value is None)}


def changed(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The keys that differ, in order."""
    return sorted(key for key in {*before, *now} if before.get(key) != now.get(key))

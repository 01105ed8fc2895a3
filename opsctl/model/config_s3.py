"""Repositories in an S3 store: their address, what belongs together, and what the store is to promise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from opsctl.model.fields import WAYS, Mistake, Part, Shown, either
from opsctl.model.part import Field

FORM = "s3:https://host/bucket/prefix"
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]\Z")
_ONLY = f"is for an S3 store (url: {FORM}) only"


class ObjectLock(Part):
    """What an S3 store promises by Object Lock: that nothing can be deleted or changed for a time."""

    mode: Literal["COMPLIANCE", "GOVERNANCE"] = Field(
        description="`COMPLIANCE`: nobody can shorten it, the account's owner neither. `GOVERNANCE`: whoever has "
        "`s3:BypassGovernanceRetention` can."
    )
    days: Annotated[int, Field(ge=1, le=36500), Shown("number")] = Field(
        description="For how many days from each copy (or set) on everything in the repository is locked."
    )

    @property
    def term(self) -> timedelta:
        return timedelta(days=self.days)


def s3_address(value: str) -> str:
    """Hold a URL that starts with ``s3:`` against its form; ValueError says what is wrong."""
    try:
        parts = urlsplit(value.removeprefix("s3:"))
        parts.port  # noqa: B018  (reading it checks it)
    except ValueError as error:
        raise ValueError(f"must be {FORM}; this address cannot be read") from error
    if parts.username is not None or parts.password is not None:
        raise ValueError("must not hold an access key; use the keys access_key_file and secret_key_file")
    bucket = parts.path.strip("/").split("/")[0]
    odd = parts.query or parts.fragment or "//" in parts.path or any(mark.isspace() for mark in value)
    if parts.scheme not in ("http", "https") or not parts.hostname or not bucket or odd:
        raise ValueError(f"must be {FORM}")
    if _BUCKET.match(bucket) is None:
        raise ValueError(f"must be {FORM}; {bucket[:70]!r} is no name of a bucket (3 to 63 of a-z 0-9 . -)")
    return value


def s3_mistakes(place: tuple[str | int, ...], entry: Mapping[str, Any]) -> Iterator[Mistake]:
    """Keys of an S3 store that are missing, given twice, or given for another kind of store."""
    url = entry.get("url")
    if not isinstance(url, str):
        return
    given = {prefix: [key for way in WAYS if entry.get(key := f"{prefix}_{way}") is not None]
             for prefix in ("access_key", "secret_key")}
    if not url.startswith("s3:"):
        for key in (*given["access_key"], *given["secret_key"], "region", "object_lock"):
            if entry.get(key) is not None:
                yield (*place, key), _ONLY
        return
    for prefix, keys in given.items():
        if not keys and prefix not in entry:
            what = "access key" if prefix == "access_key" else "secret of the access key"
            yield place, f"the {what} is missing: one of {either(f'{prefix}_{way}' for way in WAYS)}"
        if len(keys) > 1:
            yield (*place, keys[1]), f"only one of {either(keys)} can be given"
    if entry.get("append_only") is True:
        yield (*place, "append_only"), "is what a REST server promises; an S3 store does by object_lock"

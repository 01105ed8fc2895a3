"""What an S3 store lets the everyday access key do to one small object of ours, which restic does not look at."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any

from opsctl.errors import OpsError
from opsctl.repositories.refusal import Attempt
from opsctl.repositories.s3_place import S3Place

PROBE = "opsctl/probe"  # from the repository on
_CONTENT = b"opsctl tries on this object what the store refuses; it holds nothing, and may stay.\n"
_LEAST = timedelta(hours=1)  # a lock that lapses sooner is not tried any more


@dataclass(frozen=True)
class _Version:
    """One stored version of the probe, and until when it is locked."""

    id: str
    mode: str | None
    until: datetime | None


def attempts(place: S3Place) -> list[Attempt]:
    """Try to delete, overwrite and unlock the probe; at most two locked versions of it stay for as long as the lock.

    For a store that keeps versions ``refused`` says whether what was there stayed: an overwrite is accepted by every
    S3 store. Raises as S3Place does, where not even the probe can be stored.
    """
    versions = _versions(place)
    while len(versions) < 2:
        stored = _store(place)
        if stored is None:
            lost = f"the bucket {place.bucket} keeps no versions: what is deleted or overwritten there is gone"
            return [Attempt("delete", False, lost), Attempt("overwrite", False, lost)]
        versions.insert(0, stored)
    newest, older = versions[:2]
    return [_overwritten(place, older), _hidden(place, newest), *_deleted(place, newest), *_shortened(place, older)]


def _versions(place: S3Place) -> list[_Version]:
    """The versions of the probe that are locked for a while yet, newest first."""
    found = []
    for page in place.pages("list_object_versions", PROBE):
        for entry in page.get("Versions", ()):
            version = _look(place, entry["VersionId"])
            if version is not None and version.until is not None and version.until - _time(page) > _LEAST:
                found.append(version)
    return found


def _look(place: S3Place, version: str) -> _Version | None:
    answer = place.ask("head_object", PROBE, VersionId=version)
    if answer is None:
        return None
    return _Version(version, answer.get("ObjectLockMode"), answer.get("ObjectLockRetainUntilDate"))


def _time(answer: Mapping[str, Any]) -> datetime:
    """The store's own clock: the only one that its locks go by."""
    return parsedate_to_datetime(answer["ResponseMetadata"]["HTTPHeaders"]["date"])


def _store(place: S3Place) -> _Version | None:
    digest = base64.b64encode(hashlib.md5(_CONTENT, usedforsecurity=False).digest()).decode()
    answer = place.ask("put_object", PROBE, Body=_CONTENT, ContentMD5=digest) or {}
    version = answer.get("VersionId")
    return _look(place, version) if version and version != "null" else None


def _stands(place: S3Place, version: _Version) -> bool:
    return place.read(PROBE, VersionId=version.id) == _CONTENT


def _overwritten(place: S3Place, older: _Version) -> Attempt:
    if _stands(place, older):
        return Attempt("overwrite", True, f"{place.bucket} keeps what was there as a version when an object is overwritten")
    return Attempt("overwrite", False, f"{place.bucket} did not keep what was there when an object was overwritten")


def _hidden(place: S3Place, newest: _Version) -> Attempt:
    if _refuses(place, "delete_object"):
        return Attempt("delete", True, f"{place.bucket} refuses the everyday key to delete")
    kept = _stands(place, newest)
    how = "it only hides it, and `opsctl backup rewind` brings it back" if kept else "it was gone then"
    return Attempt("delete", kept, f"{place.bucket} lets the everyday key delete an object; {how}")


def _deleted(place: S3Place, newest: _Version) -> list[Attempt]:
    for more, how in (({}, ""), ({"BypassGovernanceRetention": True}, " past its lock")):
        if not _refuses(place, "delete_object", VersionId=newest.id, **more):
            return [Attempt("delete", False, f"{place.bucket} let the everyday key delete a version for good{how}")]
    return [Attempt("delete", True, f"{place.bucket} refuses to delete a version for good")]


def _shortened(place: S3Place, version: _Version) -> list[Attempt]:
    if version.until is None or version.mode is None:
        return [Attempt("shorten", False, f"{place.bucket} does not lock what is stored there: it has no default retention")]
    sooner = {"Mode": version.mode, "RetainUntilDate": version.until - _LEAST / 2}
    tries: list[tuple[str, dict[str, Any]]] = [
        ("shorten a lock", {"Retention": sooner}),
        ("shorten a lock by the bypass of GOVERNANCE", {"Retention": sooner, "BypassGovernanceRetention": True}),
    ]
    if version.mode == "COMPLIANCE":
        tries.append(("turn COMPLIANCE into GOVERNANCE",
                      {"Retention": {**sooner, "Mode": "GOVERNANCE"}, "BypassGovernanceRetention": True}))
    found = []
    for what, more in tries:
        refused = _refuses(place, "put_object_retention", VersionId=version.id, **more)
        found.append(Attempt("shorten", refused, f"{place.bucket} {'refuses to' if refused else 'let the everyday key'} {what}"))
    return found


def _refuses(place: S3Place, operation: str, **more: Any) -> bool:
    try:
        place.ask(operation, PROBE, **more)
    except OpsError as error:
        if error.details.get("code") in ("AccessDenied", "MethodNotAllowed", "InvalidRequest"):
            return True
        raise
    return False

"""A prefix in a bucket of an S3 store, asked through boto3, with every refusal and silence in our words."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from opsctl.errors import OpsError, ProgramFailed, Refused, Unreachable

AT_ONCE = 16  # requests
_NO_KEYS = ("InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken", "TokenRefreshRequired")
_ABSENT = ("NoSuchKey", "NoSuchVersion", "404")
_BUSY = ("SlowDown", "ServiceUnavailable", "RequestTimeout", "503", "InternalError", "500")

Keys = Callable[[], tuple[str, str]]


@dataclass(frozen=True)
class S3Place:
    """Where a repository lies, and with which access key it is asked. ``keys`` gives the id and the secret.

    ``time_limit`` (seconds) bounds the wait for the first byte of each answer, a second try included.
    """

    endpoint: str
    bucket: str
    prefix: str
    keys: Keys = field(repr=False)
    region: str | None = None
    cacert: str | None = None
    time_limit: float = 10.0

    @classmethod
    def at(cls, url: str, **more: Any) -> S3Place:
        """From ``s3:https://host/bucket/prefix``."""
        parts = urlsplit(url.removeprefix("s3:"))
        bucket, _, prefix = parts.path.strip("/").partition("/")
        return cls(f"{parts.scheme}://{parts.netloc}", bucket, prefix.strip("/"), **more)

    def with_keys(self, keys: Keys) -> S3Place:
        """The same place, asked with another access key."""
        return replace(self, keys=keys)

    def __str__(self) -> str:
        return f"{self.endpoint}/{self.bucket}{f'/{self.prefix}' if self.prefix else ''}"

    def key(self, name: str) -> str:
        """The full key of an object that is named from the repository on."""
        return f"{self.prefix}/{name}" if self.prefix else name

    def name(self, key: str) -> str:
        """The name from the repository on."""
        return key.removeprefix(f"{self.prefix}/") if self.prefix else key

    def ask(self, operation: str, name: str | None = None, **more: Any) -> dict[str, Any] | None:
        """One request (``get_object``, …) about the bucket, or an object of it; None where the object is not there.

        Raises Refused, Unreachable, ProgramFailed. A refusal by policy has ``details["kind"] == "access-denied"``.
        """
        if name is not None:
            more["Key"] = self.key(name)
        with _Spoken(self, operation):
            return getattr(self._client, operation)(Bucket=self.bucket, **more)
        return None

    def read(self, name: str, **more: Any) -> bytes | None:
        """The content of an object; None where it is not there."""
        with _Spoken(self, "get_object"):
            answer = self._client.get_object(Bucket=self.bucket, Key=self.key(name), **more)
            body: bytes = answer["Body"].read()
            return body
        return None

    def pages(self, operation: str, below: str = "", **more: Any) -> Iterator[dict[str, Any]]:
        """Every page of a listing (``list_objects_v2``, ``list_object_versions``) of what is below a name."""
        with _Spoken(self, operation, absent=False):
            yield from self._client.get_paginator(operation).paginate(Bucket=self.bucket, Prefix=self.key(below), **more)

    @cached_property
    def _client(self) -> Any:
        return _client(self.endpoint, *self.keys(), self.region, self.cacert, self.time_limit)


@cache
def _client(
    endpoint: str, ident: str, secret: str, region: str | None, cacert: str | None, time_limit: float
) -> Any:
    """One for all places that are asked alike: making one takes longer than most requests."""
    from botocore.config import Config

    host = urlsplit(endpoint).hostname or ""
    return _session().client(
        "s3",
        endpoint_url=endpoint,
        region_name=region or "us-east-1",
        aws_access_key_id=ident,
        aws_secret_access_key=secret,
        verify=cacert or _system_roots() or True,
        config=Config(
            connect_timeout=time_limit / 2,
            read_timeout=time_limit / 2,
            retries={"total_max_attempts": 2, "mode": "standard"},
            max_pool_connections=AT_ONCE,
            # Ceph does not know the newer checksums; what needs one gets a Content-MD5 of ours.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            ignore_configured_endpoint_urls=True,
            s3={"addressing_style": "auto" if host.endswith(".amazonaws.com") else "path"},
            # As restic does it: never through a proxy to this machine itself.
            proxies={} if host in ("localhost", "127.0.0.1", "::1") else None,
        ),
    )


def at_once(act: Callable[[Any], object], items: Iterable[Any], on_done: Callable[[], None] | None = None) -> None:
    """Do something for each, many at a time; the first failure, or what ``on_done`` raises, keeps the rest from beginning."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(AT_ONCE) as pool:
        try:
            for _ in pool.map(act, items):
                if on_done is not None:
                    on_done()
        except BaseException:
            pool.shutdown(wait=True, cancel_futures=True)
            raise


@cache
def _session() -> Any:
    """One for all clients of this process: what boto3 reads for it takes longer than most requests."""
    import boto3
    import botocore.session

    # Nothing but what the configuration says: no profile, no file of credentials.
    files = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    own = botocore.session.Session(session_vars={**files, "profile": (None, None, None, None)})
    return boto3.session.Session(botocore_session=own)


def _system_roots() -> str | None:
    """The system's own root certificates, which restic takes as well; botocore would take its own."""
    import ssl  # only where no certificate is named; it takes longer to load than all of this

    paths = ssl.get_default_verify_paths()
    return next((each for each in (paths.cafile, paths.openssl_cafile, "/etc/ssl/certs/ca-certificates.crt")
                 if each and Path(each).is_file()), None)


class _Spoken:
    """What boto3 raises inside, as an OpsError; an object that is not there ends the block without one.

    ``absent=False``: nothing can be absent, and a listing that was cut off by such an answer must not pass for the whole.
    """

    def __init__(self, place: S3Place, operation: str, *, absent: bool = True) -> None:
        self._place = place
        self._operation = operation
        self._absent = absent

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> bool:
        if error is None or isinstance(error, OpsError | GeneratorExit) or not isinstance(error, Exception):
            return False
        from botocore import exceptions as theirs

        if isinstance(error, theirs.ClientError):
            code = str(error.response.get("Error", {}).get("Code", ""))
            if self._absent and code in _ABSENT:
                return True
            raise _refusal(self._place, self._operation, code, error.response) from error
        if isinstance(error, theirs.SSLError):
            if "CERTIFICATE_VERIFY_FAILED" in str(error):
                raise Refused(
                    f"{self._place.endpoint}: its certificate is not accepted ({_why(str(error))})",
                    hint="is `cacert` the certificate of this store?",
                ) from error
            raise _silence(self._place, error) from error
        if isinstance(error, (theirs.ConnectionError, theirs.HTTPClientError, theirs.IncompleteReadError, OSError)):
            raise _silence(self._place, error) from error
        if isinstance(error, theirs.BotoCoreError):
            raise ProgramFailed(f"{self._place}: {_clean(error)}") from error
        return False


def _refusal(place: S3Place, operation: str, code: str, answer: dict[str, Any]) -> OpsError:
    details = {"kind": "access-denied" if code in ("AccessDenied", "403") else "s3", "code": code}
    if code == "RequestTimeTooSkewed":
        theirs = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
        return Refused(
            f"{place.endpoint} does not accept our requests: its clock and this machine's are too far apart"
            + (f" (there it is {theirs})" if theirs else ""),
            hint="set this machine's clock: timedatectl, chronyc tracking", details={**details, "kind": "clock-skew"})
    if code in _NO_KEYS:
        return Refused(f"{place.endpoint} does not accept this access key ({code})",
                       hint="are `access_key_…` and `secret_key_…` those of this store?", details=details)
    if code in ("AccessDenied", "403"):
        return Refused(f"{place} refuses {operation} to this access key ({code})",
                       hint="does the policy of the bucket allow it? configs/README.md has the statements", details=details)
    if code == "NoSuchBucket":
        return ProgramFailed(f"there is no bucket {place.bucket} at {place.endpoint}",
                             hint="make it with Object Lock; opsctl makes no buckets", details={**details, "kind": "no-bucket"})
    if code in _BUSY:
        return Unreachable(f"{place.endpoint} does not answer ({code})", hint="is the store running, and not overloaded?")
    said = str(answer.get("Error", {}).get("Message", ""))[:200]
    return ProgramFailed(f"{place}: {operation} ended with {code}{f': {said}' if said else ''}", details=details)


def _silence(place: S3Place, error: Exception) -> Unreachable:
    return Unreachable(f"{place.endpoint} does not answer ({_clean(error)})", hint="is the store running, and the network up?")


def _clean(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:200] or type(error).__name__


def _why(said: str) -> str:
    found = re.search(r"certificate verify failed: ([^(]+)", said)
    return found[1].strip() if found else "certificate verify failed"

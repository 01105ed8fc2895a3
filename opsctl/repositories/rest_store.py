"""The objects of a repository behind rest-server, by restic's REST protocol, version 2."""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from functools import cached_property

from opsctl.errors import OpsError, ProgramFailed, Refused, Unreachable
from opsctl.repositories.store import KINDS, TIME_LIMIT, Store

_REST_V2 = "application/vnd.x.restic.rest.v2"


class RestStore(Store):
    """A repository behind rest-server, spoken to by restic's REST protocol, version 2."""

    def __init__(
        self,
        url: str,
        *,
        user: str | None = None,
        secret: Callable[[], str] | None = None,
        cacert: str | None = None,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self.url = url.rstrip("/")
        self._user = user
        self._secret = secret
        self._cacert = cacert
        self._time_limit = time_limit

    def list(self, kind: str) -> dict[str, int]:
        body = self._ask("GET", f"{kind}/", accept=_REST_V2)
        if body is None:
            return {}
        try:
            return {entry["name"]: entry["size"] for entry in json.loads(body)}
        except (ValueError, KeyError, TypeError) as error:
            raise ProgramFailed(
                f"{self.url} does not speak restic's REST protocol, version 2", hint="is this a rest-server?"
            ) from error

    def read(self, kind: str, name: str, part: tuple[int, int] | None = None) -> bytes | None:
        span = f"bytes={part[0]}-{part[0] + part[1] - 1}" if part is not None else None
        return self._ask("GET", f"{kind}/{urllib.parse.quote(name, safe='')}", span=span)

    def config(self) -> bytes | None:
        return self._ask("GET", "config")

    def remove_lock(self, name: str) -> None:
        self._ask("DELETE", f"locks/{name}")

    def is_empty(self) -> bool:
        return self.config() is None and not any(self.list(kind) for kind in KINDS)

    def remove_keys(self) -> None:
        for name in self.list("keys"):
            self._ask("DELETE", f"keys/{urllib.parse.quote(name, safe='')}")

    @cached_property
    def _opener(self) -> urllib.request.OpenerDirector:
        """As restic does it: never through a proxy to this machine itself."""
        handlers: list[urllib.request.BaseHandler] = []
        if self.url.startswith("https:"):
            handlers.append(
                urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=self._cacert))
            )
        if urllib.parse.urlsplit(self.url).hostname in ("localhost", "127.0.0.1", "::1"):
            handlers.append(urllib.request.ProxyHandler({}))
        return urllib.request.build_opener(*handlers)

    def _ask(self, method: str, path: str, accept: str = "*/*", span: str | None = None) -> bytes | None:
        """One request; None for 404."""
        headers = {"Accept": accept, **({"Range": span} if span else {})}
        request = urllib.request.Request(f"{self.url}/{path}", method=method, headers=headers)
        if self._user is not None:
            word = self._secret() if self._secret else ""
            login = base64.b64encode(f"{self._user}:{word}".encode()).decode("ascii")
            request.add_unredirected_header("Authorization", f"Basic {login}")
        try:
            with self._opener.open(request, timeout=self._time_limit) as answer:
                content: bytes = answer.read()
                return content
        except urllib.error.HTTPError as error:
            with error:
                if error.code == 404:
                    return None
                raise _refusal(self.url, error.code) from error
        except urllib.error.URLError as error:
            if isinstance(error.reason, ssl.SSLCertVerificationError):
                raise Refused(
                    f"{self.url}: its certificate is not accepted ({error.reason.verify_message})",
                    hint="is `cacert` the certificate of this server?",
                ) from error
            raise _silence(self.url, error.reason) from error
        except (OSError, http.client.HTTPException) as error:
            raise _silence(self.url, error) from error


def _refusal(url: str, code: int) -> OpsError:
    if code in (401, 403):
        return Refused(
            f"{url} does not accept these credentials (HTTP {code})",
            hint="are `user` and its `secret_file` those of this server?",
        )
    return ProgramFailed(f"{url} answered with HTTP {code}")


def _silence(url: str, reason: object) -> Unreachable:
    said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return Unreachable(f"{url} does not answer ({said})", hint="is the server running, and the network up?")

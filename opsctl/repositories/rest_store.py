"""The objects of a repository behind rest-server, by restic's REST protocol, version 2."""

from __future__ import annotations

import base64
import http.client
import json
import secrets
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Sequence
from functools import cached_property

from opsctl.errors import OpsError, ProgramFailed, Refused, Unreachable
from opsctl.repositories.refusal import Attempt
from opsctl.repositories.store import KINDS, SMALL_KINDS, TIME_LIMIT, Store

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

    def prove_refusal(self) -> Sequence[Attempt]:
        """Delete what does not exist; store the smallest index, which can be made anew, over itself.

        Not where deletion is let through: a prune by this very door may have taken the index away since it was read, and
        it would come back, naming packs that are gone.
        """
        tried = [self._try_delete(kind) for kind in ("data", *SMALL_KINDS)]
        if not all(each.refused for each in tried):
            return [*tried, Attempt("overwrite", None, f"{self.url} was not asked to overwrite: what can be deleted can be replaced")]
        indexes = self.list("index")
        if not indexes:
            return [*tried, Attempt("overwrite", None, f"{self.url} holds no index yet that could be stored over itself")]
        name = min(indexes, key=lambda each: (indexes[each], each))
        content = self.read("index", name)
        if content is None:
            return [*tried, Attempt("overwrite", None, f"{self.url} lists index/{name} and does not have it")]
        return [*tried, self._try_overwrite(f"index/{urllib.parse.quote(name, safe='')}", content)]

    def _try_delete(self, kind: str) -> Attempt:
        code = self._answer("DELETE", f"{kind}/{secrets.token_hex(32)}")
        what = f"to delete an object of {kind}/ (one that does not exist)"
        if code in (403, 405):
            return Attempt("delete", True, f"{self.url} refuses {what}")
        return Attempt("delete", False, f"{self.url} would not refuse {what}: it answered with HTTP {code}")

    def _try_overwrite(self, path: str, content: bytes) -> Attempt:
        code = self._answer("POST", path, content)
        what = f"to store {path} anew (with the content that it has)"
        if code in (403, 405):
            return Attempt("overwrite", True, f"{self.url} refuses {what}")
        return Attempt("overwrite", False, f"{self.url} did not refuse {what}: it answered with HTTP {code}")

    def _answer(self, method: str, path: str, content: bytes | None = None) -> int:
        """The status of one request. Refused where it is the login that is not accepted."""
        try:
            return 404 if self._ask(method, path, content=content) is None else 200
        except OpsError as error:
            code = getattr(error.__cause__, "code", None)
            if isinstance(code, int) and code != 401:
                return code
            raise

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

    def _ask(
        self,
        method: str,
        path: str,
        accept: str = "*/*",
        span: str | None = None,
        content: bytes | None = None,
    ) -> bytes | None:
        """One request; None for 404."""
        headers = {"Accept": accept, **({"Range": span} if span else {})}
        request = urllib.request.Request(f"{self.url}/{path}", data=content, method=method, headers=headers)
        if self._user is not None:
            word = self._secret() if self._secret else ""
            login = base64.b64encode(f"{self._user}:{word}".encode()).decode("ascii")
            request.add_unredirected_header("Authorization", f"Basic {login}")
        try:
            with self._opener.open(request, timeout=self._time_limit) as answer:
                body: bytes = answer.read()
                return body
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
            hint="are the user and the password of its secret file those of this server?",
        )
    return ProgramFailed(f"{url} answered with HTTP {code}")


def _silence(url: str, reason: object) -> Unreachable:
    said = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return Unreachable(f"{url} does not answer ({said})", hint="is the server running, and the network up?")

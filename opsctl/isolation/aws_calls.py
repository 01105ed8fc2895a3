"""EC2 of one region, asked through boto3, with every refusal and silence in our words."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from functools import cached_property
from typing import Any

from opsctl.errors import OpsError, ProgramFailed, Refused, Unreachable

_NOT_ALLOWED = ("UnauthorizedOperation", "AccessDenied", "AccessDeniedException")
_NO_CREDENTIALS = ("AuthFailure", "InvalidClientTokenId", "UnrecognizedClientException", "SignatureDoesNotMatch",
                   "ExpiredToken", "ExpiredTokenException", "RequestExpired", "MissingAuthenticationToken", "OptInRequired",
                   "PendingVerification", "Blocked")
_BUSY = ("RequestLimitExceeded", "Throttling", "ThrottlingException", "TooManyRequestsException", "InternalError",
         "InternalFailure", "Unavailable", "ServiceUnavailable", "500", "502", "503", "504")
_ATTEMPTS = 8  # EC2 counts calls a second, and hundreds of hosts are cut off at once


class Ec2:
    """Used by many threads. Credentials are found as boto3 finds them: environment, ~/.aws, the machine's own role."""

    def __init__(self, region: str) -> None:
        self.region = region
        #: Held while a thing that hosts share is made or taken away.
        self.guard = threading.RLock()
        self._making = threading.Lock()

    @property
    def client(self) -> Any:
        """boto3's own; made by one thread at a time."""
        with self._making:
            return self._client

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore import exceptions as theirs
        from botocore.config import Config

        try:
            return boto3.session.Session().client("ec2", region_name=self.region, config=Config(
                retries={"mode": "standard", "total_max_attempts": _ATTEMPTS}, connect_timeout=5, read_timeout=20,
                max_pool_connections=64))
        except theirs.ProfileNotFound as error:
            raise _no_credentials(_clean(error)) from error
        except theirs.BotoCoreError as error:
            raise ProgramFailed(f"EC2 in {self.region}: {_clean(error)}", hint="is region: right?") from error

    def ask(self, operation: str, **words: Any) -> dict[str, Any]:
        """One call (``describe_instances``, …).

        Raises Refused (12; a missing permission is ``details["permission"]``), Unreachable (13), ProgramFailed (20) with
        AWS's word in ``details["code"]``.
        """
        from botocore import exceptions as theirs

        try:
            answer: dict[str, Any] = getattr(self.client, operation)(**words)
            return answer
        except theirs.ClientError as error:
            raise self._refusal(operation, error.response) from error
        except (theirs.NoCredentialsError, theirs.PartialCredentialsError, theirs.CredentialRetrievalError,
                theirs.TokenRetrievalError, theirs.UnauthorizedSSOTokenError, theirs.SSOTokenLoadError) as error:
            raise _no_credentials(_clean(error)) from error
        except (theirs.ConnectionError, theirs.HTTPClientError, OSError) as error:
            raise Unreachable(f"EC2 in {self.region} does not answer ({_clean(error)})",
                              hint="is region: right, and does this machine reach AWS?") from error
        except theirs.BotoCoreError as error:
            raise ProgramFailed(f"EC2 in {self.region}: {_clean(error)}") from error

    def may(self, operation: str, **words: Any) -> None:
        """Raises Refused where a call would not be allowed, and Unreachable. Nothing is done.

        AWS answers with an error always; one about the call itself will be met by the call.
        """
        with contextlib.suppress(ProgramFailed):
            self.ask(operation, DryRun=True, **words)

    def listed(self, operation: str, key: str, **words: Any) -> Iterator[dict[str, Any]]:
        """Every entry of a description, over all its pages."""
        while True:
            answer = self.ask(operation, **words)
            yield from answer.get(key, ())
            if not answer.get("NextToken"):
                return
            words["NextToken"] = answer["NextToken"]

    def _refusal(self, operation: str, response: dict[str, Any]) -> OpsError:
        code = str(response.get("Error", {}).get("Code", ""))
        said = str(response.get("Error", {}).get("Message", ""))
        permission = "ec2:" + "".join(word.capitalize() for word in operation.split("_"))
        details = {"code": code, "operation": operation}
        if code in _NOT_ALLOWED:
            return Refused(f"AWS does not allow {permission} to these credentials",
                           hint="configs/README.md has the policy; nothing was changed by this call",
                           details={**details, "kind": "access-denied", "permission": permission})
        if code in _NO_CREDENTIALS:
            return Refused(f"AWS does not accept these credentials in {self.region} ({code})",
                           hint="are they still valid, is the region enabled, and is this machine's clock right?", details=details)
        if code in _BUSY:
            return Unreachable(f"EC2 in {self.region} does not answer {operation} ({code}, after {_ATTEMPTS} tries)", details=details)
        if code.startswith("InvalidInstanceID"):
            return ProgramFailed(f"there is no such instance in {self.region} ({code})", details=details,
                                 hint="are instance: and region: right, and are these credentials of its account?")
        return ProgramFailed(f"EC2 in {self.region}: {operation} ended with {code}{f': {said[:200]}' if said else ''}", details=details)


def _no_credentials(said: str) -> Refused:
    return Refused(f"there are no AWS credentials here ({said})",
                   hint="boto3 looks in the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID), in ~/.aws and at the machine's own role")


def _clean(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error))[:200] or type(error).__name__

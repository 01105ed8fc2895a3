"""A site's own programs before and after a source is backed up."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from opsctl.errors import Interrupted, OpsError
from opsctl.model.values import value
from opsctl.shells.interface import Shell
from opsctl.sources import outside

Made = TypeVar("Made")

BEFORE, AFTER = "before", "after"


@value
class Hooks:
    """``before`` and ``after`` are argvs; each may take ``limit`` seconds."""

    before: Sequence[str] | None
    after: Sequence[str] | None
    limit: float

    def around(
        self, work: Callable[[], Made], *, shell: Shell, source: str, env: Mapping[str, str], log: list[dict[str, Any]]
    ) -> Made:
        """Run ``work`` between the hooks, and the one after it also where ``work`` or the one before failed.

        ``log`` gets an entry for each hook that ended well. Raises what ``work`` raises, with the failure of a
        hook after it in ``details["after"]``; ProgramFailed where a hook failed; Interrupted, and then no hook
        runs any more: no command does.
        """
        try:
            if self.before:
                log.append(self._run(BEFORE, self.before, shell, source, env))
            made = work()
        except Interrupted:
            raise
        except OpsError as error:
            self._after_failure(error, shell, source, env, log)
            raise
        except Exception:
            # The system's no, or a bug of ours: what the hook before stopped has to run again all the same.
            if self.after:
                with suppress(OpsError):
                    self._run(AFTER, self.after, shell, source, {**env, "OPSCTL_OUTCOME": "failed"})
            raise
        if self.after:
            log.append(self._run(AFTER, self.after, shell, source, {**env, "OPSCTL_OUTCOME": "ok"}))
        return made

    def _after_failure(
        self, error: OpsError, shell: Shell, source: str, env: Mapping[str, str], log: list[dict[str, Any]]
    ) -> None:
        if not self.after:
            return
        try:
            log.append(self._run(AFTER, self.after, shell, source, {**env, "OPSCTL_OUTCOME": "failed"}))
        except Interrupted:
            raise
        except OpsError as second:
            error.message = f"{error.message}; and {second.message}"
            error.args = (error.message,)
            error.details["after"] = second.as_dict()

    def _run(
        self, when: str, argv: Sequence[str], shell: Shell, source: str, env: Mapping[str, str]
    ) -> dict[str, Any]:
        what = f"the hook {when} {source} ({argv[0].rsplit('/', 1)[-1]})"
        told = outside.run(shell, argv, what=what, limit=self.limit, env=env)
        return {"when": when, "program": argv[0], "seconds": told.seconds, "said": list(told.said)}

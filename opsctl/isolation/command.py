"""A host cut off by the site's own switch or firewall tool: three commands, and the probes to prove what they did.

The tool finds what it needs to log in by itself, in a file that only it reads: a command line and an environment can be seen
by others on its machine. It gets `{host}` and `{address}`, to cut off also `{run}`, and in its environment (OPSCTL_HOST,
OPSCTL_ADDRESS, and to cut off OPSCTL_RUN, OPSCTL_INCIDENT, OPSCTL_MANAGERS, OPSCTL_ALLOW) what is to stay open; what it makes of
that only it knows. None may be a shell line: each word stays one word, whatever is filled in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext

from opsctl.errors import NotConverged, ProgramFailed, SafetyRefusal
from opsctl.isolation.interface import Driver
from opsctl.model.isolation import Cut, Order, Stand
from opsctl.shells.interface import Result, Shell
from opsctl.shells.local import how_it_ended, last_words, program

_OFF, _ON = 0, 1  # exit codes of ``observe``


class Command(Driver):
    """``tool`` has the words of ``observe``, ``load`` and ``release``, which run on ``shell``, as its account.

    ``limit`` is in seconds, for each; ``turns`` are shared by all hosts of a tool, since a switch takes few logins at once. Who
    ordered an isolation, and what it lets through, ``observe`` cannot see: the stand has no mark, digest or seal.
    """

    name = "command"
    enforced = "site"
    lifts_itself = False

    def __init__(
        self, host: str, *, address: str, tool: Mapping[str, Sequence[str]], shell: Shell, limit: float = 60.0,
        turns: AbstractContextManager[object] | None = None,
    ) -> None:
        self.host = host
        self.address = address
        self.tool = dict(tool)
        self.shell = shell
        self.limit = limit
        self.turns = turns or nullcontext()

    def observe(self) -> Stand:
        result = self._run("observe")
        if result.code not in (_OFF, _ON):
            raise self._said_no("observe", result, "it has to exit 0 where the host is cut off, 1 where it is not")
        return Stand("isolated" if result.code == _OFF else "open", raw=result.text)

    def load(self, order: Order, stand: Stand) -> None:
        if order.seconds is not None:
            raise SafetyRefusal(f"{self.host} is cut off by a tool of the site, which does not lift it by itself", where=self.host,
                                hint="--hold cuts it off until it is released; the release does not go through the host")
        self._make("load", "isolated", order)

    def confirm(self) -> None:
        if self.observe().standing != "isolated":
            raise NotConverged(f"the tool of the site says that {self.host} is not cut off", where=self.host)

    def extend(self, seconds: float) -> None:
        raise SafetyRefusal(f"the isolation of {self.host} by a tool of the site does not lift itself, so it has no end to move",
                            where=self.host)

    def snapshot(self) -> bytes:
        return b""

    def cut(self, order: Order) -> Cut:
        return Cut(None, None, (f"what the tool of the site does to connections of {self.host} that were open is its own; "
                          "nobody here can count them",))

    def release(self) -> None:
        self._make("release", "open")

    def persist(self, order: Order) -> None:
        """It is not on the host, so a reboot of that lifts nothing; what one of the switch does, its tool knows."""

    def close(self) -> None:
        """The connection, if there is one, serves other hosts too."""

    def _make(self, verb: str, wanted: str, order: Order | None = None) -> None:
        """Run it; where it says no, the world decides: a tool may refuse what is done already."""
        result = self._run(verb, order)
        if result.code and self.observe().standing != wanted:
            raise self._said_no(verb, result, "what it needs to log in it finds itself; try the same line by hand")

    def _run(self, verb: str, order: Order | None = None) -> Result:
        fills = {"host": self.host, "address": self.address}
        known = {"OPSCTL_HOST": self.host, "OPSCTL_ADDRESS": self.address}
        if order is not None:
            fills["run"] = order.mark.run
            known |= {"OPSCTL_RUN": order.mark.run, "OPSCTL_INCIDENT": order.mark.incident or "",
                      "OPSCTL_MANAGERS": " ".join(order.managers), "OPSCTL_ALLOW": " ".join(map(str, order.allow))}
        with self.turns:
            return self.shell.run(filled(self.tool[verb], fills), env=known, timeout=self.limit, accept=None)

    def _said_no(self, verb: str, result: Result, hint: str) -> ProgramFailed:
        where = "" if self.shell.here else f" on {self.shell.name}"
        return ProgramFailed(f"{program(result.argv)}{where} {how_it_ended(result.code)} at {verb} of {self.host}: "
                             f"{last_words(result.stderr, result.stdout)}", where=self.host, hint=hint,
                             details={"exit_code": result.code})


def filled(words: Sequence[str], fills: Mapping[str, str]) -> list[str]:
    """The words with ``{name}`` replaced, in one pass, so that what is put in is never looked into."""
    return [re.sub(r"\{([a-z]+)\}", lambda found: fills.get(found[1], found[0]), word) for word in words]

"""A shell on a host that is asked one thing after another over one channel.

A command of its own costs the host ten processes and each side a dozen messages; where hundreds of hosts are asked five things
each, that is most of the work.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Mapping, Sequence

from opsctl.errors import OpsError, ProgramFailed, Unreachable
from opsctl.shells.interface import Answering, Result, Word
from opsctl.shells.local import how_it_ended, last_words
from opsctl.shells.ssh import MOST_OUTPUT, Running, SshShell, send
from opsctl.shells.ssh_connection import lost
from opsctl.shells.ssh_wrapper import Fed, on_one_line

# What a login shell says at its start ends with the first MARK. A line that was cut off is not carried out. What a request says on standard error comes behind what it printed.
_LOOP = r"""
n='
'
exec 3<&0 4>&1 </dev/null
printf '\nMARK\n'
while IFS= read -r request <&3; do
    errors=$(eval "$request" 2>&1 >&4 3<&- 4>&-)
    printf '\nMARK %d\n%s\nMARK\n' $? "$errors"
done
"""
_CHUNK = 1 << 18
_TURN = 0.5  # seconds after which the stop is looked at


class SshAnswering(Answering):
    """Begun when first asked, and again after a failure."""

    def __init__(self, shell: SshShell, script: str, prefix: Sequence[Word], env: Mapping[str, str]) -> None:
        self._shell = shell
        self._env = env
        # So that nothing that a request prints is taken for the end of its answer.
        self._mark = secrets.token_hex(8)
        self._argv = [*prefix, "sh", "-c", script + _LOOP.replace("MARK", self._mark)]
        # A shell stands around each command already; only sudo, or what stands before it, needs one more.
        self._fed: Fed = "lines" if shell.sudo or shell.prefix or prefix else "script"
        self._running: Running | None = None
        self._begun = False

    def ask(self, request: str, timeout: float, partial: bytearray | None = None, then: tuple[bytes, float] | None = None) -> Result:
        begun = time.monotonic()
        said = bytearray() if partial is None else partial
        try:
            if self._running is None:
                self._running = Running(self._shell, self._argv, self._env, fed=self._fed)
                self._begun = False
            if not send(self._running.channel, b"eval " + on_one_line(request) + b"\n"):
                raise self._ended(self._running, b"")
            code, errors = self._answer(self._running, said, timeout, then)
        except BaseException:
            self.close()
            raise
        return Result(("sh", "-c", request), code, bytes(said), errors, time.monotonic() - begun)

    def _answer(self, running: Running, said: bytearray, timeout: float, then: tuple[bytes, float] | None) -> tuple[int, bytes]:
        """Exit code and standard error; what was printed is in ``said``."""
        channel, end = running.channel, self._mark.encode() + b"\n"
        deadline = time.monotonic() + timeout
        while True:
            if channel.recv_ready():
                try:
                    said += channel.recv(_CHUNK)
                except (EOFError, OSError) as error:  # reading makes room, and saying so needs the connection
                    raise lost(self._shell.target) from error
                if len(said) > MOST_OUTPUT:
                    raise ProgramFailed(f"{self._shell.name} answered with more than {MOST_OUTPUT >> 20} MiB", where=self._shell.name)
                if not self._begun and (at := said.find(b"\n" + end)) >= 0:
                    del said[: at + 1 + len(end)]
                    self._begun = True
                if then is not None and self._begun and said.startswith(then[0]):
                    deadline, timeout, then = min(deadline, time.monotonic() + then[1]), then[1], None
                if said.endswith(end) and (begin := said.find(b"\n" + self._mark.encode() + b" ")) >= 0:
                    first, _, errors = bytes(said[begin + 1 : -len(end) - 1]).partition(b"\n")
                    del said[begin:]
                    found = re.fullmatch(rb"[0-9a-f]+ ([0-9]{1,3})", first)
                    if found is None:  # nothing that we run ends so
                        raise ProgramFailed(f"{self._shell.name} does not say how what was asked ended", where=self._shell.name)
                    return int(found[1]), errors
                continue
            if channel.eof_received or channel.closed:
                raise self._ended(running, bytes(said))
            self._shell.check()
            now = time.monotonic()
            if now >= deadline:
                raise Unreachable(f"{self._shell.target.place} did not answer within {timeout:g} seconds", where=self._shell.name)
            running.news.wait(min(_TURN, deadline - now))

    def _ended(self, running: Running, said: bytes) -> OpsError:
        """Why no answer comes any more."""
        running.wait_for_end(_TURN)
        running.hear_errors()
        try:
            code = running.code()
            self._shell.refuse_what_sudo_refused(self._argv, code, running.errors())
            self._shell.refuse_missing(self._argv, code, running.errors())
        except OpsError as error:
            return error
        return ProgramFailed(f"the shell of {self._shell.target.user} on {self._shell.name} {how_it_ended(code)}: "
                             f"{last_words(running.errors(), said)}", where=self._shell.name, details={"exit_code": code})

    def close(self) -> None:
        if self._running is not None:
            self._running.close()
            self._running = None

"""Stands between restic and a dump, so that a dump which died, wrote nothing or lacks its end is never kept.

Run by its path as ``python -I -S guard.py --report FILE [options] -- ARGV…`` and standing alone: the standard
library only, and little of it, since it starts anew for every dump. restic keeps what a command wrote when
the command exits 0, so exit 0 is what this program is careful about. Options:

--report FILE     where the facts go as JSON, written whole: ok message bytes sha256 seconds exit_code errors
--trailer TEXT    must stand in the last KiB of what the dump wrote
--at-least N      fewest bytes the dump must write (1)
--prefix FILE     goes out before the dump; may be given again
--consent FIFO    wait, after the dump, for a ``1`` in it; a ``0`` at any time ends the dump. See ``Consent``
--sha256          hash what goes out
--limit SECONDS   longest that the dump may take
--name NAME       what the dump is called in messages, where that is not the first word of ARGV
--file FILE       in place of ``-- ARGV…``: the bytes of this file

``errors`` is the end of the dump's standard error. Exit: 64 wrong use, 65 the dump failed, 66 it wrote too
little, 67 its end is missing, 68 it could not be read or started, 69 told to stop, or nobody reads any more,
70 consent was refused.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import select
import signal
import sys
import time

USAGE, FAILED, EMPTY, CUT, UNREADABLE, STOPPED, NO_CONSENT = range(64, 71)

_BUFFER = 1 << 20
_TAIL = 1024
_ERRORS = 8192
_GRACE = 1.0  # seconds between SIGTERM and SIGKILL
_PR_SET_PDEATHSIG = 1
_F_SETPIPE_SZ = 1031


class Failure(Exception):
    """Ends the program with one line and an exit code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class Options:
    """What the command line said."""

    def __init__(self, words: list[str]) -> None:
        self.report = ""
        self.trailer = b""
        self.at_least = 1
        self.prefixes: list[str] = []
        self.consent = ""
        self.sha256 = False
        self.limit = 0.0
        self.name = ""
        self.file = ""
        self.argv: list[str] = []
        words = list(words)
        while words:
            word = words.pop(0)
            if word == "--":
                self.argv = words
                break
            if word == "--sha256":
                self.sha256 = True
                continue
            if not words:
                raise Failure(USAGE, f"{word} needs a value")
            value = words.pop(0)
            if word == "--report":
                self.report = value
            elif word == "--trailer":
                self.trailer = os.fsencode(value)
            elif word == "--at-least":
                self.at_least = int(value)
            elif word == "--prefix":
                self.prefixes.append(value)
            elif word == "--consent":
                self.consent = value
            elif word == "--limit":
                self.limit = float(value)
            elif word == "--name":
                self.name = value
            elif word == "--file":
                self.file = value
            else:
                raise Failure(USAGE, f"unknown option {word}")
        if bool(self.argv) == bool(self.file):
            raise Failure(USAGE, "give either -- ARGV… or --file FILE")

    @property
    def what(self) -> str:
        return self.name or os.path.basename(self.argv[0] if self.argv else self.file)


class Consent:
    """Someone else's word that their half is done too, so that data is not kept without its proof.

    A named pipe that its maker holds open for writing: ``1`` yes, ``0`` no, closed without either: no.
    """

    def __init__(self, path: str) -> None:
        self.descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if path else -1
        self.given = not path

    def read(self) -> None:
        """Take the word if it has come; raises Failure where it is no."""
        if self.given:
            return
        try:
            word = os.read(self.descriptor, 1)
        except BlockingIOError:
            return
        if word != b"1":
            raise Failure(NO_CONSENT, "stopped, because its proof could not be made")
        self.given = True

    def wait(self) -> None:
        while not self.given:
            poll = select.poll()
            poll.register(self.descriptor, select.POLLIN)
            poll.register(1, 0)
            for descriptor, _ in poll.poll():
                if descriptor == 1:
                    raise Failure(STOPPED, "nobody reads any more")
                self.read()


class Output:
    """Standard output, counted, hashed and with its end remembered."""

    def __init__(self, hashed: bool) -> None:
        self.bytes = 0
        self.tail = b""
        self.hash = None
        if hashed:
            import hashlib

            self.hash = hashlib.sha256()
        _widen(1)

    def write(self, piece: memoryview) -> None:
        self.bytes += len(piece)
        if self.hash is not None:
            self.hash.update(piece)
        self.tail = bytes(piece[-_TAIL:]) if len(piece) >= _TAIL else (self.tail + bytes(piece))[-_TAIL:]
        while piece:
            try:
                piece = piece[os.write(1, piece) :]
            except BrokenPipeError:
                raise Failure(STOPPED, "nobody reads any more") from None

    def copy(self, path: str, consent: Consent) -> None:
        """Send a file out."""
        try:
            source = os.open(path, os.O_RDONLY)
        except OSError as error:
            raise Failure(UNREADABLE, f"{path}: {error.strerror}") from error
        try:
            buffer = bytearray(_BUFFER)
            view = memoryview(buffer)
            while count := os.readv(source, [buffer]):
                self.write(view[:count])
                consent.read()
        except OSError as error:
            raise Failure(UNREADABLE, f"{path}: {error.strerror}") from error
        finally:
            os.close(source)


class Dump:
    """The command, in a process group of its own, so that all of it can be ended."""

    def __init__(self, argv: list[str]) -> None:
        self.errors = b""
        self.code: int | None = None
        self.out, out = os.pipe()
        self.err, err = os.pipe()
        started, starting = os.pipe()  # closed by a successful exec; otherwise it carries the errno
        _widen(self.out)
        us = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                os.setpgid(0, 0)
                _die_with_parent(signal.SIGKILL)
                if os.getppid() != us:
                    os._exit(STOPPED)
                nothing = os.open(os.devnull, os.O_RDONLY)
                for descriptor, target in ((nothing, 0), (out, 1), (err, 2)):
                    os.dup2(descriptor, target)
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGPIPE, signal.SIGXFSZ):
                    signal.signal(number, signal.SIG_DFL)
                os.execvp(argv[0], argv)
            except OSError as error:
                os.write(starting, str(error.errno).encode("ascii"))
            finally:
                os._exit(127)
        for descriptor in (out, err, starting):
            os.close(descriptor)
        try:
            os.setpgid(self.pid, self.pid)  # also here: whoever comes first
        except OSError:
            pass
        word = os.read(started, 16)
        os.close(started)
        if word:
            self.end()
            raise Failure(UNREADABLE, f"{argv[0]} could not be started: {os.strerror(int(word))}")

    def pour(self, output: Output, consent: Consent) -> None:
        """Copy everything the dump writes until it has closed both its streams."""
        poll = select.poll()
        poll.register(self.out, select.POLLIN)
        poll.register(self.err, select.POLLIN)
        poll.register(1, 0)  # POLLERR: the reader is gone, even while the dump is silent
        if not consent.given:
            poll.register(consent.descriptor, select.POLLIN)
        buffer = bytearray(_BUFFER)
        view = memoryview(buffer)
        open_streams = 2
        while open_streams:
            for descriptor, _ in poll.poll():
                if descriptor == 1:
                    raise Failure(STOPPED, "nobody reads any more")
                if descriptor == consent.descriptor:
                    consent.read()
                    if consent.given:
                        poll.unregister(descriptor)
                    continue
                count = os.readv(descriptor, [buffer])
                if not count:
                    poll.unregister(descriptor)
                    open_streams -= 1
                elif descriptor == self.out:
                    output.write(view[:count])
                else:
                    self.errors = (self.errors + bytes(view[:count]))[-_ERRORS:]

    def wait(self) -> int:
        if self.code is None:
            _, status = os.waitpid(self.pid, 0)
            self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def end(self) -> None:
        """End the whole group: asked first, then killed. Called once or more often."""
        deadline = time.monotonic() + _GRACE
        self._signal(signal.SIGTERM)
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                self._signal(signal.SIGKILL)
                self.wait()
            else:
                time.sleep(0.005)
        self._signal(signal.SIGKILL)

    def _signal(self, number: int) -> None:
        try:
            os.killpg(self.pid, number)
        except (ProcessLookupError, PermissionError):
            pass


def main(words: list[str]) -> int:
    """The whole program; returns its exit code."""
    begun = time.monotonic()
    try:
        options = Options(words)
    except (Failure, ValueError) as error:
        return _say(USAGE, str(error))
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGALRM, lambda *_: _late(options))
    signal.setitimer(signal.ITIMER_REAL, options.limit)  # 0: never
    output: Output | None = None
    dump: Dump | None = None
    code, message = 0, ""
    try:
        output = Output(options.sha256)
        consent = Consent(options.consent)
        for prefix in options.prefixes:
            output.copy(prefix, consent)
        before = output.bytes
        output.tail = b""
        if options.file:
            output.copy(options.file, consent)
        else:
            dump = Dump(options.argv)
            dump.pour(output, consent)
            _judge_exit(options.what, dump.wait())
        _judge_content(options, output.bytes - before, output.tail)
        signal.setitimer(signal.ITIMER_REAL, 0)
        consent.wait()
    except Failure as failure:
        code, message = failure.code, failure.message
    except OSError as error:
        code, message = UNREADABLE, f"{options.what}: {error.strerror}"
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)
    if dump is not None:
        dump.end()
    if options.report:
        facts = {
            "ok": code == 0,
            "code": code,
            "message": message,
            "bytes": output.bytes if output else 0,
            "sha256": output.hash.hexdigest() if output and output.hash else None,
            "seconds": round(time.monotonic() - begun, 3),
            "exit_code": dump.code if dump else None,
            "errors": dump.errors.decode("utf-8", "replace") if dump else "",
        }
        try:
            _write_whole(options.report, json.dumps(facts).encode("utf-8"))
        except OSError as error:
            return _say(UNREADABLE, f"{options.report}: {error.strerror}")
    return _say(code, message)


def _judge_exit(what: str, code: int) -> None:
    if code < 0:
        raise Failure(FAILED, f"{what} was ended by {signal.Signals(-code).name}")
    if code:
        raise Failure(FAILED, f"{what} failed ({code})")


def _judge_content(options: Options, count: int, tail: bytes) -> None:
    if not count and options.at_least:
        raise Failure(EMPTY, f"{options.what} wrote nothing")
    if count < options.at_least:
        raise Failure(EMPTY, f"{options.what} wrote only {count} bytes")
    if options.trailer not in tail:
        raise Failure(
            CUT, f"{options.what} stopped before its end: the last KiB lacks {os.fsdecode(options.trailer)!r}"
        )


def _stop(number: int, _: object) -> None:
    raise Failure(STOPPED, f"told to stop by {signal.Signals(number).name}")


def _late(options: Options) -> None:
    raise Failure(FAILED, f"{options.what} did not finish within {options.limit:g} seconds")


def _die_with_parent(number: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0)


def _widen(descriptor: int) -> None:
    """A larger pipe means fewer turns; where it may not be had, the usual one does."""
    try:
        fcntl.fcntl(descriptor, _F_SETPIPE_SZ, _BUFFER)
    except OSError:
        pass


def _write_whole(path: str, content: bytes) -> None:
    unfinished = f"{path}.{os.getpid()}"
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, content)
    finally:
        os.close(descriptor)
    os.rename(unfinished, path)


def _say(code: int, message: str) -> int:
    if message:
        line = "".join(letter if letter.isprintable() else "?" for letter in message)
        try:
            os.write(2, f"guard: {line}\n".encode("utf-8", "replace"))
        except OSError as error:
            if error.errno != errno.EPIPE:
                return code or UNREADABLE
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

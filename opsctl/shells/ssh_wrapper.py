"""What is run on a remote host around each command, so that it begins when we say so and ends when we are gone.

sshd ends nothing when a connection goes: without a terminal there is no SIGHUP, and a command that writes nothing
runs on for ever. So a shell of one screenful stands around it, handed over as an argument; no file of ours lies on
the host. It reads one line before it starts the command: the environment, secrets among them, which therefore stands
in no argument list, on neither side. Beside the command it writes a NUL to standard error every second, or every five
where the command ends with its input by itself. Where that cannot be written any more (we closed the channel, the connection is gone, sshd was killed) it ends the whole process
group. On our side the same NULs tell a silent command from a host that is gone.

Standard input comes in frames with an end of its own. Plain, a connection that breaks looks to the command like the end
of its input, and half a dump would be committed, half a rule set loaded. Here a command that is cut off waits for more
until it is ended.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from opsctl.shells.interface import Word

Fed = Literal["", "frames", "lines", "script"]
BEAT = b"\0"
BLOCK = 1 << 16  # as much as a pipe holds
NOT_INSTALLED = b"opsctl: not installed\n"
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SUDO = ("sudo", "-n", "--")

# Only what dash, bash and busybox's ash share; one line, since csh takes no newline between quotes: in the command's words `mark`
# stands for each, and `bang` for an exclamation mark, which to csh is a past command even there; `put` puts them back. Where the login shell has made one of both outputs, no NUL may get between the data. `read` takes no
# byte more than its line, so that what follows it on standard input is the command's. The group holds what the command
# started. What sudo started belongs to root, and `kill` may not: there pkill is asked, where sudoers allows it.
_SCRIPT = " ".join(line.strip() for line in r"""
    n=${IFS#??}; [ ${#n} -eq 1 ] || { n=$(printf '\nx'); n=${n%x}; };
    IFS= read -r e || exit 125;
    eval "$e" || exit 125;
    put() { set -f; one=$1; IFS=$2; set -- $word; IFS=$one; word="$*"; word=${word%??}; unset IFS; set +f; };
    if [ "$mark$bang" ]; then
        for word do
            shift;
            if [ "$bang" ]; then case $word in *"$bang"*) put "$past" "$bang";; esac; fi;
            if [ "$mark" ]; then case $word in *"$mark"*) put "$n" "$mark";; esac; fi;
            set -- "$@" "$word";
        done;
    fi;
    beat='printf "\\000" >&2';
    if [ /proc/self/fd/1 -ef /proc/self/fd/2 ]; then beat=:; fi;
    unset e n mark bang past word one;
    command -v "$name" >/dev/null 2>&1 || { echo 'opsctl: not installed' >&2; exit 127; };
    read -r _ _ _ _ _ session _ </proc/$$/stat;
    (
        trap : HUP INT TERM PIPE;
        exec </dev/null >/dev/null;
        while eval "$beat"; do
            if [ "$limit" -eq 1 ]; then break; fi;
            limit=$((limit - 1));
            sleep $pause 2>/dev/null;
            read -r _ _ _ parent _ </proc/$$/stat || break;
            if [ "$parent" != "$PPID" ]; then break; fi;
        done;
        exec 2>/dev/null;
        kill -TERM 0;
        if [ "$raised" ]; then sudo -n pkill -TERM -s "$session"; fi;
        sleep 2;
        if [ "$raised" ]; then sudo -n pkill -KILL -s "$session"; fi;
        kill -KILL 0;
    ) & watch=$!;
    feed() {
        while read -r size count; do
            if [ "$size" = 0 ]; then return; fi;
            dd bs="$size" count="$count" iflag=fullblock 2>/dev/null || return;
        done;
        sleep 2147483647;
    };
    run() {
        "$@";
        code=$?;
        exec 2>/dev/null;
        if [ "$ending" ]; then exit $code; fi;
        kill -KILL $watch;
        trap '' TERM;
        kill -TERM 0;
        exit $code;
    };
    ending=;
    trap 'ending=1' TERM;
    case $fed in frames) feed | run "$@";; lines) run "$@";; script) unset name raised limit fed pause session; run eval "$3";; *) run "$@" </dev/null;; esac;
""".strip().splitlines())


_MARKS = [bytes([code]) for code in b"~^@%?,_+" + bytes(range(5, 9)) + bytes(range(14, 27))]
END = b"0\n"
"""What says that standard input was whole."""


def frames(data: memoryview) -> Iterator[bytes | memoryview]:
    """A piece of standard input as the host takes it: blocks of one size and how many they are, then the rest."""
    whole = len(data) // BLOCK
    if whole:
        yield b"%d %d\n" % (BLOCK, whole)
        yield data[: whole * BLOCK]
    if len(data) % BLOCK:
        yield b"%d 1\n" % (len(data) % BLOCK)
        yield data[whole * BLOCK :]


def command(argv: Sequence[Word], *, raised: bool, prefix: Sequence[str] = ()) -> bytes:
    """The command line for sshd. ``raised``: through sudo, which asks for nothing; ``prefix`` stands before that."""
    marks = _marks(argv)
    words: list[Word] = ["/bin/sh", "-c", _SCRIPT, "opsctl", *prefix, *(SUDO if raised else ()), *(_marked(word, marks) for word in argv)]
    return b"exec " + b" ".join(_quoted(word) for word in words)


def _marks(argv: Sequence[Word]) -> Mapping[bytes, bytes]:
    """What stands for a newline and for an exclamation mark: no part of any word. Nothing where none has one, or they leave nothing over."""
    every = b"".join(map(_bytes, argv))
    free = (mark for mark in _MARKS if mark not in every)
    return {one: next(free, b"") for one in (b"\n", b"!") if one in every}


def _marked(word: Word, marks: Mapping[bytes, bytes]) -> bytes:
    found = _bytes(word)
    for one, mark in marks.items():
        if mark and one in found:
            found = found.replace(one, mark) + mark + b"."  # so that one at the end is none too few
    return found


def _bytes(word: Word) -> bytes:
    return word.encode("utf-8", "surrogateescape") if isinstance(word, str) else word


def first_line(
    argv: Sequence[Word], env: Mapping[str, str], *, raised: bool, fed: Fed, cwd: str | None,
    limit: float | None,
) -> bytes:
    """The line that lets the command begin.

    ``limit`` is in seconds, after which the host itself ends it. ``fed``: standard input follows, in frames, or as lines
    of which the command acts on none that is not whole. ``script`` is the same for ``sh -c SCRIPT``, which the shell that is
    there runs itself.
    """
    marks = _marks(argv)
    settings: dict[str, Word] = {
        "mark": marks.get(b"\n", b""), "bang": marks.get(b"!", b""), "past": "!",
        "name": argv[0], "raised": "yes" if raised else "", "limit": str(int(limit) + 2 if limit else 0),
        "fed": fed, "pause": "5" if fed in ("lines", "script") else "1",
    }
    parts = [f"PATH=$PATH:{PATH}".encode(), b"LANG=C.UTF-8", b"export PATH LANG", b"unset LC_ALL LANGUAGE"]
    parts += [name.encode() + b"=" + on_one_line(value) for name, value in settings.items()]
    for name, value in env.items():
        if not name.isidentifier() or not name.isascii():
            raise ValueError(f"{name!r} is no name for an environment variable")
        parts += [f"{name}=".encode() + on_one_line(value), f"export {name}".encode()]
    if cwd is not None:
        parts.append(b"cd -- " + on_one_line(cwd))
    return b"; ".join(parts) + b"\n"


def _quoted(word: Word) -> bytes:
    return shlex.quote(_bytes(word).decode("latin-1")).encode("latin-1")


def on_one_line(value: Word) -> bytes:
    """A word for a shell in which ``$n`` is a newline."""
    return _quoted(value).replace(b"\n", b"'\"$n\"'")

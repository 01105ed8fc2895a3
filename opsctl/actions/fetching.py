"""Files of a host fetched as they stand: found by patterns, read once and hashed on both sides, with what happened meanwhile."""

from __future__ import annotations

import re
import stat
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from opsctl.actions.collecting import Full, Limits, fetch
from opsctl.errors import ProgramFailed
from opsctl.model.evidence import Ended, Outcome
from opsctl.model.safe_text import shown
from opsctl.model.values import value
from opsctl.vault import Arriving

_MOST_NAMES = 32 << 20  # bytes of a listing
_LOOK = 120.0           # seconds that looking for files may take
_SECONDS = 3600.0
_GONE, _NO_FILE = 66, 67
_STATS = "%s %Y %Z %i %f %u %g %y"
_STAT = re.compile(r"(\d{1,15}) (\d{1,15}) (\d{1,15}) (\d{1,20}) ([0-9a-f]{1,8}) (\d{1,10}) (\d{1,10}) ([ -~]{1,60})", re.ASCII)

# What is found is said as `MTIME SIZE MODE`, NUL, the name, NUL. Patterns are expanded and not split. GNU's stat asks
# for many names at once; busybox's has neither --printf nor a way to end a name with NUL.
_LIST = r"""
IFS=
if stat --printf '' / 2>/dev/null; then gnu=1; else gnu=; fi
say() {
    if [ "$gnu" ]; then stat --printf '%Y %s %f\0%n\0' -- "$@" 2>/dev/null; return 0; fi
    for one; do facts=$(stat -c '%Y %s %f' -- "$one" 2>/dev/null) && printf '%s\0%s\0' "$facts" "$one"; done
}
for pattern; do
    told=
    if [ "$gnu" ]; then
        stat --printf '%Y %s %f\0%n\0' -- $pattern 2>/dev/null
        [ $? -gt 1 ] || told=1
    fi
    for f in $pattern; do
        if [ -d "$f" ]; then
            if [ "$gnu" ]; then find "$f" -xdev \( -type f -o -type l \) -exec stat --printf '%Y %s %f\0%n\0' -- {} + 2>/dev/null
            else find "$f" -xdev \( -type f -o -type l \) -print0 2>/dev/null | while IFS= read -r -d '' one; do say "$one"; done; fi
        elif [ -e "$f" ] || [ -L "$f" ]; then [ "$told" ] || say "$f"
        elif [ "$f" = "$pattern" ]; then case $f in *[*?[]*) ;; *) printf 'gone 0 0\0%s\0' "$f" ;; esac
        fi
    done
done
"""

# Read through one descriptor, so that a file that is rotated meanwhile stays the one that was begun; its hash is taken of the
# same first bytes by a second reader at the same time, so that what is appended meanwhile makes no difference.
_FETCH = rf"""
f=$1 most=$2
look() {{ stat -L -c '{_STATS}' "$1" 2>/dev/null; }}
if ! ls -d -- "$f" >/dev/null; then exit {_GONE}; fi
if [ -L "$f" ]; then echo "opsctl link $(readlink -- "$f" | tr '\n' ' ')" >&2; fi
if [ ! -f "$f" ]; then echo "it is no plain file" >&2; exit {_NO_FILE}; fi
exec 3<"$f"
facts=$(look /proc/self/fd/3)
echo "opsctl before $facts" >&2
size=${{facts%% *}}
if [ -z "$size" ] || [ "$size" = 0 ] || [ "$size" -gt "$most" ]; then size=$most; fi
first() {{ dd bs=1048576 count=$((size / 1048576)) 2>/dev/null; head -c $((size % 1048576)); }}
# sha256sum of most distributions knows nothing of what processors have for it, and takes four times as long.
if command -v openssl >/dev/null 2>&1; then first </proc/self/fd/3 | openssl dgst -sha256 -r >&2 &
elif command -v sha256sum >/dev/null 2>&1; then first </proc/self/fd/3 | sha256sum >&2 & fi
first </proc/self/fd/3
code=$?
wait
echo "opsctl after $(look /proc/self/fd/3)" >&2
echo "opsctl named $(look "$f")" >&2
exit $code
"""


@value
class Found:
    """A file of a host: its name as it is there, seconds since 1970 when it was last written to, bytes, and its mode as a number.

    ``modified`` None: it was named, and there is none.
    """

    path: bytes
    modified: int | None
    size: int
    mode: int


def find(shell: Any, patterns: Sequence[str]) -> list[Found]:
    """What patterns stand for on a host, folders gone through, each once, by name. Raises Unreachable, ProgramFailed."""
    said = bytearray()

    def take(piece: bytes) -> None:
        if len(said) + len(piece) > _MOST_NAMES:
            raise Full
        said.extend(piece)

    try:
        shell.run(["sh", "-c", _LIST, "sh", *patterns], accept=None, timeout=_LOOK, on_data=take)
    except Full:
        raise ProgramFailed(f"the patterns stand for more than {_MOST_NAMES >> 20} MiB of names", hint="narrower ones") from None
    words = bytes(said).split(b"\0")
    found: dict[bytes, Found] = {}
    for facts, path in zip(words[::2], words[1::2], strict=False):
        match = re.fullmatch(rb"(gone|[0-9]{1,15}) ([0-9]{1,15}) ([0-9a-f]{1,8})", facts)
        if match and path and not stat.S_ISDIR(int(match[3], 16)):
            found[path] = Found(path, None if match[1] == b"gone" else int(match[1]), int(match[2]), int(match[3], 16))
    return sorted(found.values(), key=lambda one: one.path)


def take(shell: Any, path: bytes, into: Arriving, limits: Limits) -> Ended:
    """One file, whole or as much as the limits take. Raises Unreachable where the connection is gone, ProgramFailed where
    nothing can be written here, Interrupted.
    """
    most = max(0, min(limits.item, limits.left()))
    done = fetch(shell, ["sh", "-c", _FETCH, "sh", path, str(most)], into, replace(limits, item=most), _SECONDS)
    facts = _facts(done.errors)
    if done.code == _GONE and not into.size:
        return Ended(Outcome.FAILED if "ermission denied" in done.said else Outcome.MISSING, done.said or "no such file")
    if (done.code or done.cut) and not into.size:
        return Ended(Outcome.FAILED, done.cut or done.said or f"reading it ended with {done.code}", source=facts, cut=bool(done.cut))
    return _judged(into, most, facts, done.cut, done.code, done.said)


def _judged(into: Arriving, most: int, facts: Mapping[str, Any], cut: str, code: int, said: str) -> Ended:
    before, after, named = (facts.get(word) or {} for word in ("before", "after", "named"))
    size, told = before.get("bytes"), [cut] if cut else []
    changed = False
    if not cut and size is not None and size > most:
        cut = f"cut off at the limit of {most:,} bytes: it has {size:,}"
        told.append(cut)
    wanted = most if size is None or size > most else size
    if not cut and size and into.size != wanted:
        changed = True
        told.append(f"changed while read: it had {size:,} bytes, and {into.size:,} came")
    if facts.get("sha256") and into.size in (wanted, most) and facts["sha256"] != into.sha256:
        changed = True
        told.append("changed while read: its hash there is not that of what came")
    if after and size is not None and after["bytes"] > size > 0:
        told.append(f"grew by {after['bytes'] - size:,} bytes while it was read; what stood there before is here")
    elif after and before and (after["bytes"], after["written"]) != (before["bytes"], before["written"]) and not changed:
        changed = True
        told.append("changed while read: it was written to")
    if named and before and named["inode"] != before["inode"]:
        told.append("another file has its name by now; this is the one that had it")
    if code and not cut:
        told.append(f"reading it ended with {code}{': ' if said else ''}{said}")
    if not into.size:
        return Ended(Outcome.EMPTY, "; ".join(told) or "it has no content", source=facts)
    return Ended(Outcome.COLLECTED, "; ".join(told), into.size, into.sha256, source=facts, cut=bool(cut), changed=changed)


def _facts(errors: str) -> dict[str, Any]:
    """What the script said of the file, as far as it has the right form: a host may say anything."""
    found: dict[str, Any] = {}
    for line in errors.splitlines():
        if re.fullmatch(r"[0-9a-f]{64} [ *](-|stdin)", line):
            found["sha256"] = line[:64]
        word, _, rest = line.removeprefix("opsctl ").partition(" ")
        if not line.startswith("opsctl "):
            continue
        if word in ("before", "after", "named") and (match := _STAT.fullmatch(rest)):
            found[word] = {"bytes": int(match[1]), "modified": int(match[2]), "changed": int(match[3]), "inode": match[4],
                           "mode": f"{int(match[5], 16):o}", "uid": int(match[6]), "gid": int(match[7]), "written": match[8]}
        elif word == "link":
            found["link"] = shown(rest.strip())[:1000]
    return found

"""How calls are made on a host, with what is there: ``number outcome source why`` a line, or ``no tool``.

After that comes from where it sees us, and what its ``ip`` knows of itself and of the ways. Without ``end`` nothing was said.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from opsctl.isolation import dial
from opsctl.model.probes import Endpoint

# Words: seconds, and address and port of each call. A call is a child that first says its number and then has a socket: one that
# did not even get there is not silent. All are made at once, so that behind one that stayed silent nothing is waited for. No single
# quotes: it stands within those of two shells.
_BASH = r"""
LC_ALL=C limit=$1 calls=() number=0
shift
round() {
    left=$limit begun=$SECONDS
    for call in "${calls[@]}"; do
        handle=${call#* } outcome=cannot why=busy said=
        if read -r -t "$left" -u "$handle" child; then
            read -r -t "$left" -u "$handle" said
            if [ $? -le 128 ]; then
                why=-
                case $said in
                    open) outcome=open ;;
                    *refused|*reset*) outcome=refused ;;
                    *"timed out") outcome=silent ;;
                    *"etwork is unreachable") why=ENETUNREACH ;;
                    *"o route to host"|*"ermission denied") outcome=barred ;;
                    *) why=other ;;
                esac
            else
                left=0.01
                for open in /proc/"$child"/fd/*; do
                    case ${open##*/} in [012]) ;; *) if [ -S "$open" ]; then outcome=silent why=-; fi ;; esac
                done
                kill -KILL "$child" 2>/dev/null
            fi
        fi
        if [ $((SECONDS - begun)) -gt 4 ]; then left=0.01; fi
        exec {handle}<&-
        echo "${call% *} $outcome - $why"
    done
    calls=()
}
while [ "$2" ]; do
    exec {handle}< <(echo "$BASHPID"; exec 2>&1; exec 9<>"/dev/tcp/$1/$2" && echo open)
    calls+=("$number $handle")
    number=$((number + 1))
    shift 2
    if [ ${#calls[@]} = 250 ]; then round; fi
done
round
"""

CALLS = f"""
by_bash() {{
    command -v bash >/dev/null 2>&1 && bash --norc -c {shlex.quote(_BASH)} bash "$@" 2>/dev/null || echo no tool
}}
seen() {{
    echo "from $SSH_CONNECTION"
    printf %s "$1" | ip -o -force -batch - 2>/dev/null
    echo end
}}
"""
"""Functions of the shell that is asked to make calls."""


def trying(tool: str, targets: Sequence[Endpoint], seconds: float, neighbours: bool = False) -> str:
    """The request that makes the calls, of a shell with ``CALLS``. A tool that is too old, or no more than a name, says that it is none."""
    if tool == "bash":
        calls = shlex.join(["by_bash", str(seconds), *(word for one in targets for word in (one.address, str(one.port)))])
    else:
        lines = "".join(f"{one.address} {one.port}\n" for one in targets)
        calls = (f"command -v {tool} >/dev/null 2>&1 && printf %s {shlex.quote(lines)} | {tool} -I -S -c {shlex.quote(_DIAL)} {seconds} "
                 "2>/dev/null || echo no tool")
    asked = "addr show\n" + "".join(f"route get {address}\n" for address in dict.fromkeys(one.address for one in targets))
    asked += "neigh show\n" if neighbours else "neigh show nud incomplete nud failed\n"
    return f"{calls}\n{shlex.join(['seen', asked])}\n"


_DIAL = Path(dial.__file__).read_text(encoding="utf-8")

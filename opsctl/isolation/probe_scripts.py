"""How calls are made on a host, with what is there: ``number outcome source why`` a line, or ``no tool``.

After that comes from where it sees us, and what its ``ip`` knows of itself and of the ways. Without ``end`` nothing was said.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from opsctl.isolation import dial
from opsctl.model.probes import Endpoint

# A call is a child that first says its number and then has a socket: one that did not even get there is not silent.
BASH = r"""
LC_ALL=C
calls=() number=0
exec {never}<> <(:)
round() {
    read -r -t "$1" -u "$never"
    for call in "${calls[@]}"; do
        handle=${call#* } outcome=cannot why=- said=
        if read -r child <&"$handle"; then
            if read -r -t 0 -u "$handle"; then
                read -r said <&"$handle"
                case $said in
                    open) outcome=open ;;
                    *refused|*reset*) outcome=refused ;;
                    *'timed out') outcome=silent ;;
                    *'etwork is unreachable') why=ENETUNREACH ;;
                    *'o route to host'|*'ermission denied') outcome=barred ;;
                    *) why=other ;;
                esac
            else
                why=busy
                for open in /proc/"$child"/fd/*; do
                    case ${open##*/} in [012]) ;; *) if [ -S "$open" ]; then outcome=silent why=-; fi ;; esac
                done
                kill -KILL "$child" 2>/dev/null
            fi
        fi
        exec {handle}<&-
        echo "${call% *} $outcome - $why"
    done
    calls=()
}
while read -r address port; do
    if [ -z "$port" ]; then continue; fi
    exec {handle}< <(echo "$BASHPID"; exec 2>&1; exec 9<>"/dev/tcp/$address/$port" && echo open)
    calls+=("$number $handle")
    number=$((number + 1))
    if [ ${#calls[@]} = 250 ]; then round "$1"; fi
done
if [ ${#calls[@]} != 0 ]; then round "$1"; fi
"""


def trying(tool: str, targets: Sequence[Endpoint], seconds: float) -> str:
    """The request that makes the calls. A tool that is too old, or no more than a name, says that it is none."""
    program = {"bash": f"bash --norc -c {shlex.quote(BASH)} bash", "python3": f"python3 -I -S -c {shlex.quote(_DIAL)}"}[tool]
    calls = "".join(f"{one.address} {one.port}\n" for one in targets)
    asked = "addr show\n" + "".join(f"route get {address}\n" for address in dict.fromkeys(one.address for one in targets))
    asked += "neigh show nud incomplete nud failed\n"
    return f"""\
command -v {tool} >/dev/null 2>&1 && printf %s {shlex.quote(calls)} | {program} {seconds} 2>/dev/null || echo no tool
echo "from $SSH_CONNECTION"
printf %s {shlex.quote(asked)} | ip -o -force -batch - 2>/dev/null
echo end
"""


_DIAL = Path(dial.__file__).read_text(encoding="utf-8")

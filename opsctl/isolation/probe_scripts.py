"""How calls are made on a host, with what is there: ``address port`` a line on standard input, ``number outcome source why`` out.

After that comes from where it sees us, and what its ``ip`` knows of itself and of the ways. Without ``end`` nothing was said.
"""

from __future__ import annotations

# $1: what python3 runs, $2: what bash runs, $3: seconds. A python3 that is too old, or no more than a name, says nothing.
CHOOSE = r"""
targets=$(cat)
if command -v python3 >/dev/null 2>&1 && echo "$targets" | python3 -I -S -c "$1" "$3" 2>/dev/null; then :
elif command -v bash >/dev/null 2>&1; then echo "$targets" | bash --norc -c "$2" bash "$3"
else echo no tool
fi
echo "from $SSH_CONNECTION"
echo "$targets" | {
    echo addr show
    while read -r address _; do echo "route get $address"; done
    echo neigh show nud incomplete nud failed
} | ip -o -force -batch - 2>/dev/null
echo end
"""

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
    if [ ${#calls[@]} = 64 ]; then round "$1"; fi
done
if [ ${#calls[@]} != 0 ]; then round "$1"; fi
"""

"""What is asked of a machine that cuts others off, in one command each, whoever of them it concerns.

Run as root. Only what dash, bash and busybox's ash share. Each part of the output begins with ``== NAME``.
"""

from __future__ import annotations

#: ``$1`` is our table. That it is dormant stands in no JSON.
TABLE = r"""
nft -j list tables >/dev/null || exit 1
echo "== table"; nft -j list table inet "$1" 2>/dev/null
echo "== dormant"; nft -t list table inet "$1" 2>/dev/null | sed -n '/^	flags .*dormant/p'
"""

_NEIGHBOURS = r"""
echo "== neighbours"; ip neigh show 2>/dev/null | sed -n 's/^\([^ ]*\) .* lladdr \([^ ]*\).*/\1 \2/p'
"""

#: Addresses on standard input, one a line: a datagram to the port that discards is sent to each neighbour among them, so that
#: it has to be found by its hardware address.
FIND = r"""
near=$(sed 's/^/route get /' | ip -force -batch - 2>/dev/null | awk '/^[0-9a-f]/ && !/ via / { print $1 }')
if command -v python3 >/dev/null; then
    echo "$near" | python3 -S -c '
import socket, sys
for line in sys.stdin.read().split():
    caller = socket.socket(socket.AF_INET6 if ":" in line else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        caller.sendto(b"", (line, 9))
    except OSError:
        pass'
elif command -v bash >/dev/null; then
    for one in $near; do bash -c "echo >/dev/udp/$one/9" 2>/dev/null; done
else
    for one in $near; do ping -c 1 -W 1 "$one" >/dev/null 2>&1 & done
fi
for turn in 1 2 3; do
    ip neigh show | grep -q INCOMPLETE || break
    sleep 0.1 2>/dev/null || sleep 1
done
""" + _NEIGHBOURS

LOOK = TABLE + _NEIGHBOURS + r"""
echo "== manager"; echo "${SSH_CONNECTION%% *}"
echo "== addresses"; ip -o addr show 2>/dev/null | sed -n 's/.* inet6\{0,1\} \([^ /]*\).*/\1/p'
echo "== nft"; nft --version || exit 1
echo "== kernel"; uname -r
echo "== forwards6"; cat /proc/sys/net/ipv6/conf/all/forwarding 2>/dev/null
echo "== flowtables"; nft list flowtables 2>/dev/null | sed -n 's/.*flowtable \([^ ]*\) .*/\1/p'
exit 0
"""

#: A transaction on standard input.
LOAD = "exec nft -f -"

#: Connections of the addresses on standard input, one a line (``*``: of all): what is tracked, and this machine's own. A kernel without
#: a rule that asks for it tracks none, not even the one that this is asked over; what it tracked before may be listed for days.
FLOWS = r"""
echo "== tracker"
ours() { if [ "$4" ]; then set -- --sport "$2" --dport "$4"; else set --; fi; conntrack -L -p tcp "$@" 2>/dev/null | head -n 1; }
ours $SSH_CONNECTION
echo "== flows"
{ cat; echo ==; conntrack -L -f ipv4 2>/dev/null; conntrack -L -f ipv6 2>/dev/null; ss -Htn state connected exclude time-wait 2>/dev/null
} | awk '
    /^==$/ { go = 1; next }
    !go { want[$1]; next }
    / src=/ { for (i = 1; i <= NF; i++) if (substr($i, 1, 4) == "src=" && (substr($i, 5) in want || "*" in want)) { print; next }; next }
    { at = $NF; sub(/:[^:]*$/, "", at); gsub(/[][]|^\[?::ffff:|%.*/, "", at); if (at in want || "*" in want) print "socket", $(NF-1), $NF }'
exit 0
"""

#: Commands on standard input, one a line: ``conntrack -D`` with these words, or ``ss -K`` with these.
END = r"""
while read -r what words; do
    case $what in
        tracked) conntrack -D $words >/dev/null 2>&1 ;;
        socket) ss -K -t $words >/dev/null 2>&1 ;;
    esac </dev/null
done
exit 0
"""

"""What is asked of a host in one command each, since a connection costs little and a command over it costs time.

Only what dash, bash and busybox's ash share. ``$S`` calls root's programs. Each part of the output begins with ``== NAME``.
"""

from __future__ import annotations

from opsctl.model.nft_rules import TABLE

# Connections that are neither loopback, nor of the host with itself, nor the manager's own.
_OTHERS = r"""
manager=${SSH_CONNECTION%% *}
port=${SSH_CONNECTION##* }
others() {
    set -- state connected exclude time-wait not \( dst 127.0.0.0/8 or dst '[::1]'
    for own in $(ip -o addr show 2>/dev/null | sed -n 's/.* inet6\{0,1\} \([^ /]*\).*/\1/p'); do
        case $own in fe80*|127.*|::1) ;; *:*) set -- "$@" or dst "[$own]" ;; *) set -- "$@" or dst "$own" ;; esac
    done
    if [ "$manager" ]; then
        case $manager in *:*) to="[$manager]" ;; *) to=$manager ;; esac
        set -- "$@" or \( sport = ":$port" and dst "$to" \)
    fi
    "$how" -t -u -H $kill "$@" \)
}
spaces() { $S lsns -n -t net -o PID 2>/dev/null; }
everywhere() {
    kill=$1
    how=root; others
    for pid in $(spaces); do
        if [ "$($S readlink /proc/$pid/ns/net 2>/dev/null)" != "$(readlink /proc/$$/ns/net)" ]; then how=inside; others; fi
    done
}
root() { $S ss "$@"; }
inside() { $S nsenter -t "$pid" -n ss "$@"; }
"""

LOOK = _OTHERS + rf"""
echo "== manager"; echo "$manager"
echo "== addresses"; ip -o addr show 2>/dev/null | sed -n 's/.* inet6\{{0,1\}} \([^ /]*\).*/\1/p'
echo "== inner"; for one in /sys/class/net/*/bridge; do
    one=${{one%/bridge}} port=
    for each in "$one"/lower_*/device "$one"/lower_*/lower_*/device "$one"/lower_*/lower_*/lower_*/device; do [ ! -e "$each" ] || port=1; done
    [ "$port" ] || [ ! -e "$one" ] || ip -o addr show dev "${{one##*/}}" 2>/dev/null | sed -n 's/.* inet6\{{0,1\}} \([^ /]*\).*/\1/p'
done
echo "== devices"; for one in /sys/class/net/*/device; do one=${{one%/device}}; [ "$one" = '/sys/class/net/*' ] || echo "${{one##*/}}"; done
echo "== serves"; ss -Hltn 2>/dev/null | while read -r _ _ _ at _; do case $at in 127.*|'[::1]'*) ;; *) echo "$at" ;; esac; done
echo "== namespaces"; spaces
echo "== nft"; $S nft --version
echo "== kernel"; uname -r
echo "== tables"; $S nft -j list tables || exit 1
echo "== sets"; for family in inet netdev; do $S nft -j list set $family {TABLE} armed 2>/dev/null; done
echo "== rules"; for family in inet netdev; do $S nft -s list table $family {TABLE} 2>/dev/null | sed '/^	set armed/,/^	}}/d'; done
echo "== hooks"; $S nft -s list table netdev {TABLE} 2>/dev/null | grep 'hook .*gress'
echo "== connections"; everywhere '' | wc -l
echo "== persisted"; if [ -e /etc/opsctl/isolated.nft ]; then echo yes; else echo no; fi
"""

CUT = _OTHERS + r"""
echo "== before"; everywhere '' | wc -l
echo "== notes"; everywhere -K 2>&1 >/dev/null | head -n 5
echo "== after"; everywhere '' | wc -l
"""

SNAPSHOT = r"""
echo "== date"; date -u +%Y-%m-%dT%H:%M:%SZ
echo "== sockets"; $S ss -tuanpie 2>/dev/null
echo "== tracked"; $S conntrack -L 2>/dev/null
echo "== processes"; ps -eo pid,ppid,user,lstart,args 2>/dev/null
"""

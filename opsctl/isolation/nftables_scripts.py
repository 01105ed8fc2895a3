"""What is asked of a host, as root: functions of one shell, since a connection costs little, and a command over it costs time.

Only what dash, bash and busybox's ash share, and as few programs as can be: of 412 hosts each costs seconds where they share a
machine. Each part of the output begins with ``== NAME``.
"""

from __future__ import annotations

from opsctl.model.nft_rules import TABLE

FILE = "/etc/opsctl/isolated.nft"
UNIT = "opsctl-isolated.service"
UNIT_TEXT = f"""\
[Unit]
Description=Cut off by opsctl, until `opsctl isolate release`
DefaultDependencies=no
After=systemd-modules-load.service nftables.service
Before=network-pre.target
Wants=network-pre.target
ConditionPathExists={FILE}

[Service]
Type=oneshot
RemainAfterExit=yes
# First what holds for every interface; then all of it, which needs the interfaces to be there.
ExecStart=/bin/sh -c 'sed -n "/^# netdev/q;p" {FILE} | nft -f -'
ExecStart=-/bin/sh -c 'udevadm settle --timeout=20; exec nft -f {FILE}'

[Install]
WantedBy=sysinit.target
"""
_UNITS = "/etc/systemd/system"
_WANTED = f"{_UNITS}/sysinit.target.wants"

# Addresses and sockets of one network namespace: what is read here is judged by `model.connections`. `uncounted` where it has
# no `ss`, or a namespace cannot be looked into: no connection seen is not the same as none. Whoever is root in a container may call
# an address anything, with lines of ours in it.
_SPACE = r"""
[ "$space" ] || space=$(ip -o addr show)
case $space in *"
== "*) space=; echo "== uncounted" ;; esac
echo "== space"; echo "$space"
sockets=$(ss -Htuan) || echo "== uncounted"
echo "== sockets"
if [ ${#sockets} -lt 500000 ]; then echo "$sockets"; else echo "$sockets" | head -n 5000; fi
"""

# `others` sets `spaces` to what `lsns` says where there is any network namespace but our own, which `own` is. Whether there is one
# costs a program that tells it of all processes half of what `lsns` costs.
# `everywhere` runs `$inside` with the words given in every network namespace, our own first.
_EVERYWHERE = r"""
others() {
    own= spaces=
    for seen in $(readlink /proc/self/ns/net /proc/[0-9]*/ns/net 2>/dev/null); do
        if [ "${own:=$seen}" != "$seen" ]; then own=$own/; break; fi
    done
    case $own in net:*]) return 0 ;; esac
    own=${own%/}
    spaces=$(lsns -n -t net -o NS,PID)
}
everywhere() {
    (eval "$inside")
    others || echo "== uncounted"
    case $spaces in *[!0-9' ']*) ;; *) return 0 ;; esac
    echo "$spaces" | while read -r space pid; do
        if [ "net:[$space]" != "$own" ]; then
            nsenter -t "$pid" -n sh -c "$inside" sh "$@" </dev/null || [ ! -e "/proc/$pid" ] || echo "== uncounted"
        fi
    done
}
"""

# Words: families of which our table is known to be there. nft 1.0.6 lists no two tables of different families in one call.
_RULES = rf"""
echo "== rules"
text=
for family; do more=$(nft list table $family {TABLE} 2>/dev/null) || {{ text=; break; }}; text="$text$more
"; done
if [ -z "$text" ]; then
    all=$(nft list tables) || return $?
    for family in inet netdev; do
        case $all in *"table $family {TABLE}"*) more=$(nft list table $family {TABLE}) || return $?; text="$text$more
" ;; esac
    done
fi
printf '%s' "$text"
"""

# Words as those of `rules`. A port leads out: it has a device, or its other end is in a namespace that is none of ours to see (the host is a container).
_LOOK = rf"""
echo "== manager"; echo "$SSH_CONNECTION"
echo "== kernel"; read -r release </proc/sys/kernel/osrelease; echo "$release"
echo "== ports"
for one in /sys/class/net/*; do
    if [ -e "$one/device" ]; then echo "${{one##*/}} device"; continue; fi
    if [ -e "$one/bridge" ]; then
        kind=inner
        for port in "$one"/lower_*/device "$one"/lower_*/lower_*/device "$one"/lower_*/lower_*/lower_*/device; do
            [ ! -e "$port" ] || kind=bridge
        done
        echo "${{one##*/}} $kind"
        continue
    fi
    read -r type <"$one/type"; read -r own <"$one/ifindex"; read -r other <"$one/iflink"
    if [ "$type" = 1 ] && [ "$other" != "$own" ] && [ "$other" != 0 ] && ! [ -e "$one/master" ]; then
        for lower in "$one"/lower_*; do [ -e "$lower" ] || echo "${{one##*/}} other-end"; break; done
    fi
done
echo "== persisted"
if [ -L {_WANTED}/{UNIT} ]; then echo enabled; fi
echo "== unit"; if [ -e {_UNITS}/{UNIT} ]; then cat {_UNITS}/{UNIT}; fi
echo "== file"; if [ -e {FILE} ]; then cat {FILE}; fi
rules "$@" || exit $?
inside='{_SPACE}'
everywhere
"""

# `$1`: the profile, `$2`: `kill`, and the words of ss for what is let through, each with `or` behind it.
_CUT = r"""
inside='
profile=$1; shift
if [ "$manager" ]; then set -- "$@" \( sport = ":$port" and dst "$manager" \) or; fi
space=$(ip -o addr show) before=
for own in $space; do
    case $before:${own%%/*} in inet6:fe80*|inet6:::1|inet:127.*) ;; inet6:*:*) set -- "$@" dst "[${own%%/*}]" or ;; inet:*.*) set -- "$@" dst "${own%%/*}" or ;; esac
    before=$own
done
echo "== killed"
served=
if [ "$profile" = outbound-only ]; then
    for at in $(ss -Hltn | while read -r _ _ _ at _; do echo "${at##*:}"; done); do
        served="$served${served:+ or }sport = :$at"
    done
    # What is not served here was opened from here.
    if [ "$served" ]; then ss -K -Htn state connected exclude time-wait not \( "$@" dst 127.0.0.0/8 or dst "[::1]" \) and \( $served \); fi
    ss -K -Hun state connected not \( "$@" dst 127.0.0.0/8 or dst "[::1]" \)
else
    ss -K -Htun state connected exclude time-wait not \( "$@" dst 127.0.0.0/8 or dst "[::1]" \)
fi
'
manager=${SSH_CONNECTION%% *} port=${SSH_CONNECTION##* }
manager=${manager%%%*}; manager=${manager#::ffff:}
case $manager in *:*) manager="[$manager]" ;; esac
export manager port
everywhere "$@"
"""

_SNAPSHOT = r"""
asked() { timeout -k 1 2 "$@" 2>/dev/null; }
echo "== date"; date -u +%Y-%m-%dT%H:%M:%SZ
echo "== sockets"; asked ss -tuanpie
echo "== processes"; asked ps -eo pid,ppid,user,lstart,args
echo "== tracked"; tracked=0 count=/proc/sys/net/netfilter/nf_conntrack_count
[ ! -r $count ] || read -r tracked <$count
[ "$tracked" = 0 ] || asked conntrack -L
echo "== other namespaces"
others 2>/dev/null
case $spaces in *[!0-9' ']*) ;; *) return 0 ;; esac
echo "$spaces" | while read -r space pid; do
    if [ "net:[$space]" != "$own" ]; then echo "-- net:[$space] of $pid"; asked nsenter -t "$pid" -n ss -tuanpie </dev/null; fi
done
"""

# A disk that cannot be written to keeps nothing closed, and is told.
_RELEASE = rf"""
forgotten=0
rm -f {_WANTED}/{UNIT} {_UNITS}/{UNIT} {FILE} || forgotten=1
all=$(nft list tables) || return 1
text=
for family in inet netdev; do
    case $all in *"table $family {TABLE}"*) text="${{text}}delete table $family {TABLE}
" ;; esac
done
if [ "$text" ]; then printf '%s' "$text" | nft -f - || return 1; fi
return $forgotten
"""

# `$1` is the unit. What is written is what the kernel holds now.
_PERSIST = rf"""
[ -d /run/systemd/system ] || {{ echo "it has no systemd, which would load its rules when it starts" >&2; exit 3; }}
umask 077
set -e
mkdir -p /etc/opsctl {_WANTED}
{{
    echo "# Cut off by opsctl. {UNIT} loads this before any network is up; opsctl isolate release takes it away."
    for family in inet netdev; do
        text=$(nft -s list table $family {TABLE} 2>/dev/null) || continue
        case $text in *"timeout "[0-9]*) echo "it lifts itself: it was not confirmed" >&2; exit 4 ;; esac
        printf '# %s\nadd table %s {TABLE}\ndelete table %s {TABLE}\n%s\n' $family $family $family "$text"
    done
}} >{FILE}.new
printf '%s' "$1" >{_UNITS}/{UNIT}.new
chmod 0644 {_UNITS}/{UNIT}.new
sync {FILE}.new {_UNITS}/{UNIT}.new 2>/dev/null || sync
mv {FILE}.new {FILE}
mv {_UNITS}/{UNIT}.new {_UNITS}/{UNIT}
ln -sfn ../{UNIT} {_WANTED}/{UNIT}
sync /etc/opsctl {_WANTED} {_UNITS} 2>/dev/null || sync
"""

_FORGET = f"rm -f {_WANTED}/{UNIT} {_UNITS}/{UNIT} {FILE}"

SCRIPT = rf"""
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
{_EVERYWHERE}
rules() {{ {_RULES} }}
look() {{ {_LOOK} }}
load() {{ printf '%s' "$1" | nft -f -; }}
cut_off() {{ {_CUT} }}
snapshot() {{ {_SNAPSHOT} }}
release() {{ {_RELEASE} }}
persist() {{ {_PERSIST} }}
forget() {{ {_FORGET}; }}
"""

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
# an address anything, with lines of ours in it. Behind `cut_off` the addresses are known.
_SPACE = r"""
[ "$space" ] || space=$(ip -o addr show)
counted=
case $space in *"
== "*) space= counted="== uncounted
" ;; esac
sockets=$(ss -Htuan) || counted="== uncounted
"
if [ ${#sockets} -ge 500000 ]; then sockets=$(echo "$sockets" | head -n 5000); fi
printf "%s\n" "$counted== space
$space
== sockets
$sockets"
"""

# `others` sets `spaces` to number and place of each network namespace where there is any but our own, which `own` is. Whether there is one
# the shell sees by itself: a program that tells it of all processes costs half of what `lsns` costs. A namespace without a process, which
# stands where it was mounted (`ip netns add`), can hold connections of processes that were in it; `lsns` lists none.
# `elsewhere` runs the words given for each of them, with `$space` and `$place`; `everywhere` runs `$inside` with them in every network namespace,
# our own first.
_EVERYWHERE = r"""
others() {
    own= spaces=
    [ -e /proc/self/ns/net ] || return 1
    for seen in /run/netns/* /run/docker/netns/* /proc/[0-9]*/ns/net; do
        if ! [ "$seen" -ef /proc/self/ns/net ] && [ -e "$seen" ]; then
            own=$(readlink /proc/self/ns/net) && spaces=$(
                lsns -n -t net -o NS,PID || exit
                grep " - nsfs " /proc/self/mountinfo | while read -r _ _ _ root place _; do
                    case $root in net:*) if [ -e "$place" ]; then root=${root#net:?}; echo "${root%?} $place"; fi ;; esac
                done
            )
            return
        fi
    done
}
elsewhere() {
    others || return
    case $spaces in *"
"*) ;; *) return 0 ;; esac
    entered=" "
    echo "$spaces" | while read -r space place; do
        case "$own$entered" in "net:[$space]"*|*" $space "*) continue ;; esac
        entered="$entered$space "
        case $place in /*) ;; *) place=/proc/$place/ns/net ;; esac
        "$@" </dev/null
    done
}
here() { eval "$inside"; }
there() { nsenter -n"$place" sh -c "$inside" sh "$@" || [ ! -e "$place" ] || echo "== uncounted"; }
everywhere() {
    here "$@"
    elsewhere there "$@" || echo "== uncounted"
}
"""

# Words: families of which our table is known to be there, or `ruleset` where there are no other tables. nft 1.0.6 lists no two
# tables of different families in one call. It flushes each word, of which each would be a packet to us.
_RULES = rf"""
listed= tables=
if [ "$1" = ruleset ]; then
    listed=$(nft list ruleset 2>/dev/null) && return
    set --
fi
for family; do more=$(nft list table $family {TABLE} 2>/dev/null) || {{ listed=; break; }}; listed="$listed$more
"; done
if [ -z "$listed" ]; then
    tables=$(nft list tables) || return $?
    for family in inet netdev; do
        case $tables in *"table $family {TABLE}"*) more=$(nft list table $family {TABLE}) || return $?; listed="$listed$more
" ;; esac
    done
    tables="
$tables"
fi
"""

# `$1`: `brief` where of a host that is open no more is asked than what its rules depend on; then words as those of `rules`. A port leads out: it has a device, or its other end is in a namespace that is none of ours to see (the host is a container).
_LOOK = rf"""
brief=$1
shift
ports=
for one in /sys/class/net/*; do
    name=${{one##*/}}
    if [ -e "$one/device" ]; then ports="$ports$name device
"; continue; fi
    if [ -e "$one/bridge" ]; then
        kind=inner
        for port in "$one"/lower_*/device "$one"/lower_*/lower_*/device "$one"/lower_*/lower_*/lower_*/device; do
            [ ! -e "$port" ] || kind=bridge
        done
        ports="$ports$name $kind
"
        continue
    fi
    read -r type <"$one/type"; read -r own <"$one/ifindex"; read -r other <"$one/iflink"
    if [ "$type" = 1 ] && [ "$other" != "$own" ] && [ "$other" != 0 ] && ! [ -e "$one/master" ]; then
        for lower in "$one"/lower_*; do [ -e "$lower" ] || ports="$ports$name other-end
"; break; done
    fi
done
read -r release </proc/sys/kernel/osrelease
enabled=
if [ -L {_WANTED}/{UNIT} ]; then enabled=enabled; fi
rules "$@" || exit $?
printf '%s\n' "== manager
$SSH_CONNECTION
== kernel
$release
== ports
$ports== persisted
$enabled
== tables$tables
== rules
$listed"
if [ -e {_UNITS}/{UNIT} ]; then echo "== unit"; cat {_UNITS}/{UNIT}; fi
if [ -e {FILE} ]; then echo "== file"; cat {FILE}; fi
if [ "$brief" = brief ] && [ -z "$listed" ]; then echo "== space"; ip -o addr show; return; fi
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

# When it was stands in the list of processes, which holds `ps` itself. Behind it comes `ss`, which has no end of its own here.
_SNAPSHOT = r"""
asked() { timeout -k 1 2 "$@" 2>/dev/null; }
echo "== times are in UTC
== processes"; TZ=UTC0 asked ps -eo pid,ppid,user,lstart,args || date -u +%Y-%m-%dT%H:%M:%SZ
echo "== sockets"; ss -tuanpie 2>/dev/null
echo "== tracked"; tracked=0 count=/proc/sys/net/netfilter/nf_conntrack_count
[ ! -r $count ] || read -r tracked <$count
[ "$tracked" = 0 ] || asked conntrack -L
echo "== other namespaces"
sockets_of() { echo "-- net:[$space] of $place"; asked nsenter -n"$place" ss -tuanpie; }
elsewhere sockets_of 2>/dev/null
return 0
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
if [ "$text" ]; then nft "$text" || return 1; fi
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
load() {{ if [ ${{#1}} -lt 100000 ]; then nft "$1"; else printf '%s' "$1" | nft -f -; fi; }}
check() {{ printf '%s' "$1" | nft -c -f -; }}
cut_off() {{ {_CUT} }}
snapshot() {{ {_SNAPSHOT} }}
release() {{ {_RELEASE} }}
persist() {{ {_PERSIST} }}
forget() {{ {_FORGET}; }}
"""

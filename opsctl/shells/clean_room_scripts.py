"""The scripts of a clean room: what makes it from inside its namespaces, and what tries from inside to get out."""

from __future__ import annotations

#: What programs need of /etc, and nobody's secrets.
OF_ETC = ("passwd", "group", "nsswitch.conf", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "timezone",
          "ssl/certs", "ssl/openssl.cnf", "postgresql-common", "fonts", "mime.types", "locale.alias", "perl", "python3")

#: Run as the first process of a PID namespace, with mount, network and IPC namespaces of its own: ROOM, OF_ETC in one word, PATH…
#: It prints the number that it has outside, then how it changed its root, and lives as long as its standard input. When it
#: ends the kernel ends everything in the namespace. The restored files are shown without devices, programs and set-user bits,
#: and cannot be changed: what was proven stays what was proven.
MAKE = r"""
set -eu
PATH=$PATH:/usr/sbin:/sbin  # pivot_root and chroot, for ordinary users of Debian
room=$1 of_etc=$2; shift 2
read -r number rest </proc/self/stat
root=$room/root
mount -t tmpfs -o mode=755,nosuid,nodev,size=64m room "$root"
lay() {
  if [ -d "$1" ]; then mkdir -p "$root$1"; else mkdir -p "$root${1%/*}"; : >"$root$1"; fi
  mount --"$bind" "$1" "$root$1"
}
show() { lay "$1"; mount -o "remount,bind,ro,nosuid,nodev$2" "$root$1"; }
bind=rbind
for place in /bin /sbin /lib /lib32 /lib64 /libx32; do
  if [ -L "$place" ]; then ln -s "$(readlink "$place")" "$root$place"; elif [ -d "$place" ]; then show "$place" ""; fi
done
for place in /usr "$@"; do if [ -e "$place" ]; then show "$place" ""; fi; done
bind=bind
mkdir -p "$root/etc" "$root/dev" "$root/proc" "$root/run" "$root/tmp" "$root/var" "$root/var/tmp" "$root/sys" "$root/.old"
chmod 1777 "$root/tmp" "$root/var/tmp"
ln -s /run "$root/var/run"
printf '127.0.0.1 localhost\n::1 localhost\n' >"$root/etc/hosts"
for device in null zero full random urandom; do : >"$root/dev/$device"; mount --bind "/dev/$device" "$root/dev/$device"; done
ln -s /proc/self/fd "$root/dev/fd"; ln -s fd/0 "$root/dev/stdin"; ln -s fd/1 "$root/dev/stdout"; ln -s fd/2 "$root/dev/stderr"
mkdir "$root/dev/shm"
mount -t tmpfs -o mode=1777,nosuid,nodev,noexec,size=64m shm "$root/dev/shm"
mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
for place in sys sysrq-trigger irq bus; do
  if [ -e "$root/proc/$place" ]; then
    mount --bind "$root/proc/$place" "$root/proc/$place"
    mount -o remount,bind,ro,nosuid,nodev,noexec "$root/proc/$place"
  fi
done
for place in $of_etc; do if [ -e "/etc/$place" ]; then show "/etc/$place" ",noexec"; fi; done
lay "$room"
mount -o remount,bind,nosuid,nodev "$root$room"
show "$room/files" ",noexec"
# What is mounted below a path that is shown came with it, and can still be written to.
while read -r id parent device inner point options rest; do
  case $point in *\\*) point=$(printf '%b' "$point");; esac
  case $point in "$root"/*) ;; *) continue;; esac
  case $point in "$root$room" | "$root$room"/* | "$root"/dev/* | "$root"/proc | "$root"/proc/*) continue;; esac
  case ,$options, in *,ro,*) continue;; esac
  case ,$options, in *,noexec,*) more=,noexec;; *) more=;; esac
  mount -o "remount,bind,ro,nosuid,nodev$more" "$point"
done </proc/self/mountinfo
ip link set lo up 2>/dev/null || :
cd "$root"
if pivot_root . .old 2>/dev/null; then
  umount -l /.old
  rmdir /.old
  cd /
  echo "$number pivoted"
  read -r wait || :
  exit 0
fi
exec chroot "$root" /bin/sh -c 'cd /; echo "$1 chrooted"; read -r wait || :' sh "$number"
"""

#: Tries each way out that is named in JSON on standard input, and prints a JSON list of those that it found open.
TRY = r"""
import json, socket, sys

asked = json.load(sys.stdin)
out = []

def tries(what, step):
    try:
        step()
    except OSError:
        return
    out.append(what)

def call(kind, family, place):
    with socket.socket(family, kind) as tried:
        tried.settimeout(2)
        tried.connect(place)
        if kind == socket.SOCK_DGRAM and family != socket.AF_UNIX:
            tried.send(bytes(12))

for address, port in asked["tcp"]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    tries(f"TCP to {address}", lambda: call(socket.SOCK_STREAM, family, (address, port)))
for address in asked["udp"]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    tries(f"a name look-up at {address}", lambda: call(socket.SOCK_DGRAM, family, (address, 53)))
for name in asked["names"]:
    tries(f"a name look-up of {name}", lambda: socket.getaddrinfo(name, 53))
for path in asked["unix"]:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
        tries(f"the socket {path}", lambda: call(kind, socket.AF_UNIX, path.replace("@", chr(0), 1) if path[:1] == "@" else path))
with open("/proc/net/dev") as lines:
    for line in list(lines)[2:]:
        name = line.partition(":")[0].strip()
        if name != "lo":
            out.append(f"the network interface {name}")
print(json.dumps(sorted(set(out))))
"""

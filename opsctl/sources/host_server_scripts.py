"""The scripts of a database server in a clean room that is a host: what starts it there and ends with our connection."""

from __future__ import annotations

# Where a server's socket is: a path that is short whatever the room is called, and that is known again after a kill.
_SOCKETS = r"""
sockets_of() { printf '/run/opsctl-room-%s' "$(printf %s "$1" | sha256sum | cut -c 1-16)"; }
"""

# DIR below the room's folder; what is printed is "ready ADDRESS". It runs until a line comes on standard input (`stop`, `kill`),
# or that ends. Nothing that belongs to the server's account is written by root, who would follow a link laid there. Where
# the kernel lets it, the server has no network at all: its socket is in the file system.
_BEGIN = _SOCKETS + r"""
set -eu
umask 077
dir=$1; room=${dir%/*}
fail() { echo "$1" >&2; exit 3; }
account=$2
id "$account" >/dev/null 2>&1 || account=nobody
mkdir -p "$room"
[ -O "$room" ] && [ ! -L "$room" ] || fail "$room was made by somebody else"
chmod 711 "$room"
[ -d "$dir" ] || { mkdir "$dir"; chown "$account:" "$dir"; }
wall=
if unshare --net --ipc true 2>/dev/null; then wall="unshare --net --ipc --"; fi
as="$wall setpriv --pdeathsig KILL --reuid $account --regid $(id -g "$account") --clear-groups --no-new-privs --"
export HOME=/tmp LC_ALL=C.UTF-8
cd /
sockets=$(sockets_of "$dir")
rm -rf "$sockets"
mkdir "$sockets"
chown "$account:" "$sockets"
server=
clean() { [ -z "$server" ] || kill -KILL "$server" 2>/dev/null || :; rm -rf "$sockets"; }
trap clean EXIT
trap 'exit 1' TERM HUP INT
"""

_END = r"""
tries=600
until ready; do
  kill -0 "$server" 2>/dev/null || { server=; fail "it ended: $(tail -n 5 "$room/${dir##*/}.log" | tr '\n' ' ')"; }
  tries=$((tries - 1))
  [ $tries -gt 0 ] || fail "it is not ready after a minute: $(tail -n 5 "$room/${dir##*/}.log" | tr '\n' ' ')"
  sleep 0.1
done
echo "ready $address"
read -r word || word=kill
case $word in stop) kill -$orderly "$server";; *) kill -KILL "$server";; esac
wait "$server" 2>/dev/null || :
server=
"""

_POSTGRESQL_PROGRAMS = r"""
initdb=$(command -v initdb || ls -1d /usr/lib/postgresql/*/bin/initdb /usr/pgsql-*/bin/initdb 2>/dev/null | sort -V | tail -n 1)
[ -n "$initdb" ] || { echo "PostgreSQL's server programs are not installed" >&2; exit 3; }
initdb=$(readlink -f "$initdb"); bin=${initdb%/initdb}
"""

_MARIADB_PROGRAMS = r"""
PATH=$PATH:/usr/libexec:/usr/local/libexec
for program in mariadbd mariadb-install-db; do
  command -v $program >/dev/null || { echo "MariaDB's server programs are not installed" >&2; exit 3; }
done
"""

SERVERS = {
    "postgresql": _POSTGRESQL_PROGRAMS + _BEGIN + r"""
orderly=INT address=$sockets
if [ ! -d "$dir/data" ]; then
  $as rm -rf "$dir/data.new"
  $as "$bin/initdb" -D "$dir/data.new" -U postgres --no-sync --encoding=UTF8 --locale=C.UTF-8 --auth-local=trust --auth-host=reject \
    >"$room/${dir##*/}.log" 2>&1 || fail "initdb: $(tail -n 3 "$room/${dir##*/}.log" | tr '\n' ' ')"
  $as mv "$dir/data.new" "$dir/data"
fi
$as rm -f "$dir/data/postmaster.pid"
$as "$bin/postgres" -D "$dir/data" -k "$sockets" -c listen_addresses= -c port=5432 -c fsync=off -c full_page_writes=off -c wal_level=minimal \
  -c max_wal_senders=0 -c jit=off -c autovacuum=off -c dynamic_shared_memory_type=mmap -c lc_messages=C -c max_wal_size=1GB \
  >>"$room/${dir##*/}.log" 2>&1 </dev/null &
server=$!
ready() { [ -S "$sockets/.s.PGSQL.5432" ] && "$bin/pg_isready" -q -h "$sockets" -p 5432; }
""" + _END,
    "mariadb": _MARIADB_PROGRAMS + _BEGIN + r"""
orderly=TERM address=$sockets/sock
$as mkdir -p "$dir/tmp"
if [ ! -d "$dir/data" ]; then
  $as rm -rf "$dir/data.new"
  $as mariadb-install-db --no-defaults --datadir="$dir/data.new" --auth-root-authentication-method=normal --skip-test-db --skip-name-resolve \
    --tmpdir="$dir/tmp" >"$room/${dir##*/}.log" 2>&1 || fail "mariadb-install-db: $(tail -n 3 "$room/${dir##*/}.log" | tr '\n' ' ')"
  $as mv "$dir/data.new" "$dir/data"
fi
$as "$(command -v mariadbd)" --no-defaults --datadir="$dir/data" --socket="$sockets/sock" --pid-file="$dir/data/server.pid" \
  --secure-file-priv="$dir/data" --tmpdir="$dir/tmp" --skip-networking --innodb-use-native-aio=0 --innodb-doublewrite=0 \
  --innodb-flush-log-at-trx-commit=2 --max-allowed-packet=1G --performance-schema=0 --skip-log-bin --skip-name-resolve \
  >>"$room/${dir##*/}.log" 2>&1 </dev/null &
server=$!
ready() { [ -S "$sockets/sock" ]; }
""" + _END,
}

#: ROOM: remove it, with the data of all its servers, none of which runs.
REMOVE = _SOCKETS + r"""
for each in "$1"/db-*; do rm -rf "$(sockets_of "$each")"; done
rm -rf -- "$1"
"""

#: Print the version of the server that would be started, as its program says it.
VERSIONS = {
    "postgresql": _POSTGRESQL_PROGRAMS + '"$bin/postgres" --version\n',
    "mariadb": _MARIADB_PROGRAMS + "mariadbd --no-defaults --version\n",
}
ACCOUNTS = {"postgresql": "postgres", "mariadb": "mysql"}

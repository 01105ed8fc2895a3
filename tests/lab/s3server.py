"""A real S3 server with Object Lock on loopback: Ceph's gateway (radosgw) on one monitor and one store in memory."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from opsctl.errors import ProgramFailed
from opsctl.shells.tether import owned_directory, quiet_environment, server_account, tethered
from tests.lab.server import Server, certify

START_LIMIT = 60.0  # seconds
PROGRAMS = ("radosgw", "radosgw-admin", "ceph-mon", "ceph-osd", "ceph", "monmaptool")
REGION = "us-east-1"

# No cephx, hence no encrypted mode either: radosgw would ask the monitor for one and wait a minute. Without the short
# objecter tick it now and then waits 5 s for its first map.
_CONFIGURATION = """\
[global]
fsid = {fsid}
mon host = {monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
auth supported = none
ms cluster mode = crc
ms service mode = crc
ms client mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
ms mon client mode = crc
run dir = {place}
admin socket =
pid file =
keyring = {place}/none
log file = {place}/$name.log
log to stderr = false
mon cluster log file = {place}/cluster.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true

[mon]
mon data = {place}/mon
mon data avail crit = 0
mon data avail warn = 0
paxos propose interval = 0.05
paxos min wait = 0.01

[osd]
osd data = {place}/osd
osd objectstore = memstore
memstore device bytes = 8589934592
osd memory target = 1073741824

[client.rgw]
rgw frontends = beast endpoint=127.0.0.1:{port} ssl_endpoint=127.0.0.1:{tls_port} ssl_certificate={place}/certificate.pem ssl_private_key={place}/key.pem
objecter tick interval = 0.25
rgw thread pool size = 32
rgw lc max objs = 1
rgw gc max objs = 1
"""

# What opsctl's everyday keys may do; the same statements stand in configs/README.md for people.
WRITER_MAY = {
    "bucket": ("ListBucket", "ListBucketVersions", "GetBucketLocation", "GetBucketVersioning",
               "GetBucketObjectLockConfiguration"),
    "objects": ("GetObject", "GetObjectVersion", "PutObject", "GetObjectRetention", "PutObjectRetention"),
    "locks": ("DeleteObject",),
}


@dataclass(frozen=True)
class Key:
    """One user's access key, and the name that policies know the user by."""

    id: str
    secret: str
    arn: str


@dataclass(frozen=True)
class Bucket:
    """A bucket of its own, with the clients of its owner and of the everyday writer."""

    server: S3Server
    name: str

    def url(self, prefix: str = "repo", *, tls: bool = False) -> str:
        """The repository below ``prefix``, as restic and the configuration write it."""
        return f"s3:{self.server.endpoint(tls=tls)}/{self.name}/{prefix}"

    @property
    def owner(self) -> Any:
        return self.server.client(self.server.owner)

    @property
    def writer(self) -> Any:
        return self.server.client(self.server.writer)

    def put(self, key: str, content: bytes, *, by: str = "writer") -> None:
        """Store an object, over one that is there as well."""
        getattr(self, by).put_object(Bucket=self.name, Key=key, Body=content)

    def keys(self) -> dict[str, bytes]:
        """Every object that is visible now, with its content."""
        pages = self.owner.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return {each["Key"]: self.owner.get_object(Bucket=self.name, Key=each["Key"])["Body"].read()
                for page in pages for each in page.get("Contents", ())}

    def versions(self) -> list[dict[str, Any]]:
        """Every version and delete marker (``marker``), as the server lists them."""
        found = []
        for page in self.owner.get_paginator("list_object_versions").paginate(Bucket=self.name):
            found += [{**each, "marker": False} for each in page.get("Versions", ())]
            found += [{**each, "marker": True} for each in page.get("DeleteMarkers", ())]
        return found

    def load(self, directory: Path, prefix: str = "repo") -> None:
        """Put a repository that lies in a directory here; the everyday writer owns it then."""
        for path in sorted(directory.rglob("*")):
            if path.is_file():
                self.put(f"{prefix}/{path.relative_to(directory)}", path.read_bytes())


class S3Server(Server):
    """One server: `with S3Server() as server:`. Everything is in memory, and gone when this process ends, however.

    It answers on two ports, with TLS and without, and has two users: `owner`, who makes the buckets, and `writer`, who
    may do what the policy of a bucket gives (WRITER_MAY).
    """

    def __init__(self) -> None:
        self.owner = Key(secrets.token_hex(10).upper(), secrets.token_urlsafe(30), "arn:aws:iam:::user/owner")
        self.writer = Key(secrets.token_hex(10).upper(), secrets.token_urlsafe(30), "arn:aws:iam:::user/writer")
        self.place: Path | None = None
        self.port = self.tls_port = 0
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        self._janitor: subprocess.Popen[bytes] | None = None
        self._clients: dict[Key, Any] = {}

    @property
    def pids(self) -> dict[str, int]:
        """The process ids of the daemons, by name."""
        return {name: child.pid for name, child in self._children.items()}

    @property
    def certificate(self) -> Path:
        """The self-signed certificate of the port with TLS, in PEM."""
        assert self.place is not None, "this S3 server was never started"
        return self.place / "certificate.pem"

    def endpoint(self, *, tls: bool = False) -> str:
        """`http://127.0.0.1:PORT`, or https."""
        return f"https://127.0.0.1:{self.tls_port}" if tls else f"http://127.0.0.1:{self.port}"

    def client(self, key: Key) -> Any:
        """A boto3 client with this key."""
        if key not in self._clients:
            import boto3
            from botocore.config import Config

            self._clients[key] = boto3.session.Session().client(
                "s3", endpoint_url=self.endpoint(), region_name=REGION, aws_access_key_id=key.id,
                aws_secret_access_key=key.secret,
                config=Config(s3={"addressing_style": "path"}, proxies={}, retries={"total_max_attempts": 2}))
        return self._clients[key]

    def bucket(self, *, mode: str | None = "COMPLIANCE", days: int = 1, prefix: str = "repo",
               also: Sequence[str] = (), without: Sequence[str] = ()) -> Bucket:
        """A new bucket with the everyday policy; ``mode=None``: without Object Lock.

        ``also``: what the writer may do to objects beside it; ``without``: what it may not.
        """
        name = f"b-{secrets.token_hex(6)}"
        owner = self.client(self.owner)
        owner.create_bucket(Bucket=name, ObjectLockEnabledForBucket=mode is not None)
        if mode is not None:
            owner.put_object_lock_configuration(Bucket=name, ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": mode, "Days": days}}})
        allowed = {where: [f"s3:{word}" for word in words if word not in without] for where, words in WRITER_MAY.items()}
        allowed["objects"] += [f"s3:{word}" for word in also]
        bucket, objects = f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"
        statements = [
            {"Effect": "Allow", "Principal": {"AWS": [self.owner.arn]}, "Action": ["s3:*"], "Resource": [bucket, objects]},
            *({"Effect": "Allow", "Principal": {"AWS": [self.writer.arn]}, "Action": allowed[where], "Resource": [what]}
              for where, what in (("bucket", bucket), ("objects", objects), ("locks", f"{bucket}/{prefix}/locks/*"))
              if allowed[where]),
        ]
        owner.put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))
        return Bucket(self, name)

    def start(self) -> Self:
        """Start the server and wait until it answers; raises ProgramFailed with what it said, if not."""
        missing = [name for name in PROGRAMS if shutil.which(name) is None]
        if missing:
            raise ProgramFailed(f"{', '.join(missing)}: not installed", hint="opsctl doctor --fix --for test")
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def stop(self) -> None:
        """End the server and remove everything of it."""
        for child in reversed(self._children.values()):
            child.kill()
        for child in self._children.values():
            child.wait()
        self._children.clear()
        if self._janitor is not None and self._janitor.stdin is not None:
            self._janitor.stdin.close()
            self._janitor.wait()
            self._janitor = None

    def _start(self) -> None:
        account = server_account()
        place = self.place = Path(tempfile.mkdtemp(prefix="opsctl-s3-"))
        # Its standard input ends with this process, also by kill -9; the daemons end by the signal of their tether.
        sweep = 'cat >/dev/null; until rm -rf -- "$1" 2>/dev/null; do :; done'
        self._janitor = subprocess.Popen(["/bin/sh", "-c", sweep, "sh", str(place)], stdin=subprocess.PIPE,
                                         start_new_session=True)
        place.chmod(0o755)
        certify("127.0.0.1", place / "key.pem", place / "certificate.pem")
        *monitors, self.port, self.tls_port = _free_ports(4)
        monitor = f"[v2:127.0.0.1:{monitors[0]},v1:127.0.0.1:{monitors[1]}]"
        cluster, disk = str(uuid.uuid4()), str(uuid.uuid4())
        configuration = place / "ceph.conf"
        configuration.write_text(_CONFIGURATION.format(fsid=cluster, monitor=monitor, place=place, port=self.port,
                                                       tls_port=self.tls_port))
        for name in ("mon", "osd"):
            owned_directory(place / name, account)
        if account.switch:
            for path in (place, place / "key.pem", place / "certificate.pem"):
                os.chown(path, account.uid, account.gid)
        common = ["-c", str(configuration)]
        monmap = str(place / "monmap")
        self._run(["monmaptool", "--create", "--fsid", cluster, "--addv", "a", monitor, monmap])
        self._run(["ceph-mon", *common, "-i", "a", "--mkfs", "--monmap", monmap])
        self._spawn("mon", ["ceph-mon", *common, "-i", "a", "-f"])
        self._run(["ceph", *common, "--connect-timeout", "30", "osd", "new", disk])
        self._run(["ceph-osd", *common, "-i", "0", "--mkfs", "--osd-uuid", disk])
        self._spawn("osd", ["ceph-osd", *common, "-i", "0", "-f"])
        self._spawn("rgw", ["radosgw", *common, "-n", "client.rgw", "-f"])
        self._await_answer()
        for user, key, buckets in (("owner", self.owner, 0), ("writer", self.writer, -1)):  # 0: no limit, -1: none
            self._run(["radosgw-admin", *common, "-n", "client.rgw", "user", "create", "--uid", user, "--display-name", user,
                       "--access-key", key.id, "--secret", key.secret, f"--max-buckets={buckets}"])

    def _run(self, argv: list[str]) -> None:
        done = subprocess.run(tethered(argv, server_account(), death_signal="KILL"), capture_output=True, text=True,
                              timeout=START_LIMIT, env=_environment(), check=False, stdin=subprocess.DEVNULL)
        if done.returncode:
            raise ProgramFailed(f"{argv[0]} failed ({done.returncode}): {done.stderr.strip()[-2000:]}")

    def _spawn(self, name: str, argv: list[str]) -> None:
        assert self.place is not None
        with (self.place / f"{name}.out").open("ab") as out:
            self._children[name] = subprocess.Popen(
                tethered(argv, server_account(), death_signal="KILL"), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env=_environment(), start_new_session=True)

    def _await_answer(self) -> None:
        deadline = time.monotonic() + START_LIMIT
        while True:
            for name, child in self._children.items():
                if child.poll() is not None:
                    raise ProgramFailed(f"{name} ended with {child.returncode}: {self._tail(name)}")
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=2) as door:
                    door.sendall(b"GET / HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")
                    if door.recv(12):
                        return
            except OSError as error:
                if time.monotonic() > deadline:
                    raise ProgramFailed(f"the S3 server did not answer: {self._tail('rgw')}") from error
            time.sleep(0.02)

    def _tail(self, name: str) -> str:
        assert self.place is not None
        return (self.place / f"{name}.out").read_text(errors="replace")[-1500:]


def _environment() -> dict[str, str]:
    return quiet_environment(without=("PYTHON", "CEPH_", "AWS_"))


def _free_ports(count: int) -> list[int]:
    doors = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [door.getsockname()[1] for door in doors]
    finally:
        for door in doors:
            door.close()

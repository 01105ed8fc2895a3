"""The S3 server of the tests keeps to its policy and its locks, and is gone afterwards."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from tests.lab.s3server import S3Server
from tests.machine import PACKAGE

pytestmark = pytest.mark.lab


def refused(call: str, client: object, **more: object) -> str:
    with pytest.raises(ClientError) as caught:
        getattr(client, call)(**more)
    return str(caught.value.response["Error"]["Code"])


def test_the_writer_may_store_and_not_delete(s3_server: S3Server) -> None:
    bucket = s3_server.bucket()
    bucket.put("repo/config", b"first")
    bucket.put("repo/config", b"second")
    assert bucket.keys() == {"repo/config": b"second"}
    old = next(each for each in bucket.versions() if not each["IsLatest"])
    where = {"Bucket": bucket.name, "Key": "repo/config"}
    assert bucket.writer.get_object(**where, VersionId=old["VersionId"])["Body"].read() == b"first"
    assert refused("delete_object", bucket.writer, **where) == "AccessDenied"
    assert refused("delete_object", bucket.owner, **where, VersionId=old["VersionId"]) == "AccessDenied"
    held = bucket.writer.get_object_retention(**where)["Retention"]
    assert held["Mode"] == "COMPLIANCE" and held["RetainUntilDate"] - datetime.now(UTC) > timedelta(hours=20)
    bucket.put("repo/locks/one", b"lock")
    bucket.writer.delete_object(Bucket=bucket.name, Key="repo/locks/one")
    assert set(bucket.keys()) == {"repo/config"}


def test_kill_9_of_the_parent_leaves_no_server_and_no_folder() -> None:
    script = ("import json, time\nfrom tests.lab.s3server import S3Server\nserver = S3Server().start()\n"
              "print(json.dumps([server.pids, str(server.place)]), flush=True)\ntime.sleep(600)\n")
    parent = subprocess.Popen([sys.executable, "-c", script], cwd=PACKAGE, stdout=subprocess.PIPE, text=True)
    try:
        assert parent.stdout is not None
        pids, place = json.loads(parent.stdout.readline())
        assert len(pids) == 3 and Path(place).is_dir() and all(alive(pid) for pid in pids.values())
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    deadline = time.monotonic() + 30
    while Path(place).exists() or any(alive(pid) for pid in pids.values()):
        assert time.monotonic() < deadline, "the server outlived its parent"
        time.sleep(0.02)


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False

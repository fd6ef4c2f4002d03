"""A PostgreSQL server and a stand-in for S3, for logs that several services share."""

import contextlib
import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

import measure

# What the service needs to sign its requests; the stand-in takes anything.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


def programs():
    """PostgreSQL's directory of programs and the stand-in for S3, as `./test setup` leaves them; or
    None."""
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=version)
    named = os.environ.get("SEALWRIGHT_TEST_POSTGRES") or (installed[-1] if installed else None)
    ministack = measure.peer("SEALWRIGHT_TEST_MINISTACK", "ministack/bin/ministack")
    return (Path(named), ministack) if named and ministack else None


def version(path):
    return [int(part) for part in path.parent.name.split(".")]


@contextlib.contextmanager
def shared(place):
    """Arguments of `sealwright serve` for a database and a bucket of its own; the database is on the
    disk of `place`, a directory in one for this run, and the stand-in keeps the bucket in memory."""
    postgres, ministack = programs()
    with database(postgres, place.parent.parent) as url, bucket(ministack) as (endpoint, name):
        yield ["--database", url, "--bucket", f"s3://{name}/log", "--s3-endpoint", endpoint]


@contextlib.contextmanager
def database(programs, beside):
    """As it is installed: every commit is synced."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="sealwright-bench-", dir=beside) as data:
        as_user = []
        if os.getuid() == 0:
            # It will not run as root.
            nobody = pwd.getpwnam("nobody")
            os.chown(data, nobody.pw_uid, nobody.pw_gid)
            as_user = ["setpriv", "--reuid", str(nobody.pw_uid), "--regid", str(nobody.pw_gid)]
            as_user += ["--clear-groups"]
        make = [programs / "initdb", "--auth=trust", "--username=postgres", "--encoding=UTF8"]
        quiet = {"cwd": "/", "stdout": subprocess.DEVNULL}
        subprocess.run([*as_user, *make, "-D", data], check=True, **quiet)
        command = [*as_user, programs / "postgres", "-D", data, "-p", str(port)]
        command += ["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]
        with started(command, {}) as process:
            ready = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
            wait_for(lambda: subprocess.run(ready).returncode == 0, process, "PostgreSQL")
            yield f"postgres://postgres@127.0.0.1:{port}/postgres"


@contextlib.contextmanager
def bucket(program):
    port = free_port()
    settings = {"GATEWAY_PORT": str(port), "BIND_HOST": "127.0.0.1", "SERVICES": "s3"}
    with started([program], settings) as process:
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: listens(port), process, "the stand-in for S3")
        made = urllib.request.Request(f"{url}/bench", method="PUT")
        with urllib.request.urlopen(made):
            pass
        yield url, "bench"


@contextlib.contextmanager
def started(command, settings):
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd="/", env={**os.environ, **settings}, **quiet) as process:
        try:
            yield process
        finally:
            # PostgreSQL ends at once, also with clients.
            process.send_signal(signal.SIGINT)


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
        return True
    return False


def wait_for(condition, process, what):
    for _ in range(600):
        if condition():
            return
        if process.poll() is not None:
            break
        time.sleep(0.05)
    sys.exit(f"{what} did not start")


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]

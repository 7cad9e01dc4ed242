"""A PostgreSQL server for tests: Debian's, as an unprivileged user, in a temporary folder, on a Unix socket."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import psycopg

from mfa_kit.adapters.ledger.postgresql.address import parse_address
from mfa_kit.adapters.ledger.postgresql.database import Session, migrate

BIN = Path("/usr/lib/postgresql/17/bin")
SUPERUSER, OWNER, TEMPLATE = "postgres", "owner", "ledger_template"
SETTINGS = ("fsync=off", "max_connections=60", "shared_buffers=16MB", "listen_addresses=", "autovacuum=off")
# A standby copies the server's files without a wait for a checkpoint or the disk, and gets the settings to follow it.
COPIED = ("--write-recovery-conf", "--checkpoint=fast", "--no-sync", "--wal-method=stream")


@dataclass
class Server:
    """A server, whose folder is also that of its socket. Any role of it may connect through the socket."""

    folder: Path
    settings: tuple[str, ...] = SETTINGS
    number: Iterator[int] = field(default_factory=count)

    @property
    def who(self) -> dict[str, Any]:
        """The unprivileged user of the server, because PostgreSQL refuses to run as root."""
        user = pwd.getpwnam("nobody")
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}

    def control(self, *words: str) -> None:
        """Run pg_ctl."""
        # The server inherits stdout, so it must not be a pipe that somebody reads to its end.
        options = " ".join(f"-c {each}" for each in (*self.settings, f"unix_socket_directories={self.folder}"))
        subprocess.run(
            [BIN / "pg_ctl", "-w", "-s", "-D", self.folder / "data", "-l", self.folder / "log", "-o", options, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=True,
            cwd="/",
            env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"},
            **self.who,
        )

    def address(self, database: str, *, role: str = OWNER) -> str:
        """Return the address of a database for a role."""
        return f"host={self.folder} user={role} dbname={database}"

    def execute(self, sql: str, *, database: str = "postgres", role: str = SUPERUSER) -> list[Any]:
        """Run SQL as a role, and return the rows."""
        with psycopg.connect(self.address(database, role=role), autocommit=True) as connection:
            cursor = connection.execute(sql)
            return cursor.fetchall() if cursor.description else []

    def new_database(self) -> str:
        """Create a database with an empty ledger, and return its name."""
        name = f"ledger{os.getpid()}_{next(self.number)}"
        self.execute(f"create database {name} template {TEMPLATE} owner {OWNER} strategy file_copy")
        return name


@contextmanager
def running_server(*more: str, within: Path | None = None) -> Iterator[Server]:
    """Start a server, with a template of a database with an empty ledger, and stop it at the end."""
    # The path of a Unix socket has at most 107 bytes.
    memory = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="pg-", dir=within or memory) as name:
        server = Server(Path(name), (*SETTINGS, *more))
        if server.who:
            os.chown(name, server.who["user"], server.who["group"])
        server.folder.chmod(0o755)
        subprocess.run(
            [BIN / "initdb", "-D", server.folder / "data", "-U", SUPERUSER, "-A", "trust", "-N", "--locale=C.UTF-8"],
            check=True,
            capture_output=True,
            cwd="/",
            **server.who,
        )
        server.control("start")
        try:
            server.execute(f"create role {OWNER} login")
            server.execute(f"create database {TEMPLATE} owner {OWNER}")
            address = parse_address(server.address(TEMPLATE))
            session = Session(address)
            migrate(session, address, create=True)
            session.close()
            yield server
        finally:
            with suppress(subprocess.CalledProcessError):  # a test may have stopped it
                server.control("stop", "-m", "immediate")
            shutil.rmtree(server.folder / "data", ignore_errors=True)


@contextmanager
def standby_of(primary: Server) -> Iterator[Server]:
    """Start a standby of a server, which a test may promote, and stop it at the end. Commits do not wait for it."""
    with tempfile.TemporaryDirectory(prefix="pg-", dir=primary.folder.parent) as name:
        standby = Server(Path(name), primary.settings)
        if standby.who:
            os.chown(name, standby.who["user"], standby.who["group"])
        standby.folder.chmod(0o755)
        subprocess.run(
            [BIN / "pg_basebackup", "-h", primary.folder, "-U", SUPERUSER, "-D", standby.folder / "data", *COPIED],
            check=True,
            capture_output=True,
            cwd="/",
            **standby.who,
        )
        standby.control("start")
        try:
            yield standby
        finally:
            standby.control("stop", "-m", "immediate")
            shutil.rmtree(standby.folder / "data", ignore_errors=True)

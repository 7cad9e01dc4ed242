"""A network that breaks without a sign between a process and its ledger: who notices it first."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from tests.adapters.test_postgresql_sessions import ask, starting
from tests.conftest import judge, without
from tests.ledgers import open_at
from tests.postgresql import Server, running_server
from tests.sizes import FULL

HERE, THERE = "198.18.7.1", "198.18.7.2"  # RFC 2544: for tests of networks
NAME = f"pg{os.getpid()}"


def ip(*words: str) -> None:
    subprocess.run([judge("ip"), *words], check=True, capture_output=True)


@pytest.fixture
def cable() -> Iterator[Callable[[], None]]:
    """Connect a network namespace with this one, and return a function that breaks the connection."""
    if os.geteuid() != 0:
        without("a network namespace needs root")
    ip("netns", "add", NAME)
    try:
        ip("link", "add", NAME, "type", "veth", "peer", "name", "there", "netns", NAME)
        ip("addr", "add", f"{HERE}/30", "dev", NAME)
        ip("link", "set", NAME, "up")
        ip("-n", NAME, "addr", "add", f"{THERE}/30", "dev", "there")
        ip("-n", NAME, "link", "set", "there", "up")
        yield lambda: ip("link", "set", NAME, "down")
    finally:
        ip("netns", "del", NAME)


@pytest.fixture
def server(cable: Callable[[], None]) -> Iterator[Server]:  # noqa: ARG001 - its address must exist first
    """Start a server that other computers may use, with TLS."""
    with running_server(f"listen_addresses={HERE}") as server:
        key, certificate = server.folder / "data" / "server.key", server.folder / "data" / "server.crt"
        subprocess.run(
            [
                *(judge("openssl"), "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"),
                *("-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=ledger"),
                *("-addext", f"subjectAltName=IP:{HERE}"),
            ],
            check=True,
            capture_output=True,
        )
        (server.folder / "root.crt").write_bytes(certificate.read_bytes())
        for file in (key, certificate):
            os.chown(file, server.who["user"], server.who["group"])
        key.chmod(0o600)
        with (server.folder / "data" / "pg_hba.conf").open("a", encoding="utf-8") as rules:
            rules.write(f"hostssl all all {THERE}/32 trust\n")
        server.execute("alter system set ssl = on")
        server.execute("select pg_reload_conf()")
        yield server


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="takes more than a minute")
def test_the_process_notices_it_before_the_server_frees_its_run(server: Server, cable: Callable[[], None]) -> None:
    """A statement was sent and not acknowledged. The process ends, and later another one gets the run."""
    database, run = server.new_database(), "20261125T000000Z-00000001"
    elsewhere = f"host={HERE} user=owner dbname={database} sslrootcert={server.folder / 'root.crt'}"
    with starting(before=("ip", "netns", "exec", NAME)) as start, open_at(server.address(database)) as ledger:
        process = start(elsewhere, run)
        cable()
        broken = time.monotonic()
        assert ask(process, "record").startswith("ended: ")
        noticed = time.monotonic() - broken
        assert ledger.lives(run), "another process could have settled it while it was working"
        while ledger.lives(run):
            assert time.monotonic() - broken < 100
            time.sleep(0.2)
        assert noticed < time.monotonic() - broken

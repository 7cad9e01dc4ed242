"""The address of a ledger in PostgreSQL: a libpq connection string without a password."""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import psycopg
from psycopg import pq
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.local_servers import is_loopback

# The parameters that libpq marks as secret (PostgreSQL 17, "Connection Control Functions", `dispchar`).
PASSWORDS = frozenset(option.keyword.decode() for option in pq.Conninfo.get_defaults() if option.dispchar == b"*")
KEEP = "put the password into ~/.pgpass (mode 600) or a service file, or use a client certificate"
VERIFIED = "verify-full"
# Excludes two ways to authenticate (libpq, `require_auth`). On loopback or a Unix socket, any program of this computer
# could pose as the server. With `password`, that program would get the password in ~/.pgpass; with `md5`, a hash from
# which the password is quickly guessed.
NOT_IN_CLEAR = "!password,!md5"
# The name of a session contains at most this many characters of the computer's name, and then the process ID.
# PostgreSQL cuts the name of a session to 63 characters.
LONGEST_NAME = 45
# The client gives up a dead connection before the server does. So the process of mfa-kit has ended before the server
# gives the locks of the process to another session.
CLIENT = {
    "connect_timeout": "10",
    "keepalives": "1",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
# After a connection is lost, the server keeps the locks of the session for longer than one call to IAM can take (10 s
# to connect and 30 s to read).
SERVER = {
    # PostgreSQL searches pg_temp first unless the path lists it. At the end of the path, a role's temporary tables
    # cannot hide the ledger's tables from the ledger's functions.
    "search_path": "mfa_kit,pg_temp",
    "synchronous_commit": "on",
    "idle_session_timeout": "0",
    "idle_in_transaction_session_timeout": "60s",
    "client_connection_check_interval": "1s",
    "lock_timeout": "10s",
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "4",
    "tcp_user_timeout": "70000",
}


@dataclass(frozen=True, slots=True)
class Address:
    """The parameters of a connection, by libpq's names, without a password."""

    parameters: Mapping[str, str]

    @property
    def label(self) -> str:
        """The address as messages show it: the service, or the host with its port and the database."""
        if service := self.parameters.get("service"):
            return f"service={service}"
        host = self.parameters.get("host") or self.parameters.get("hostaddr") or ""
        port = f":{self.parameters['port']}" if "port" in self.parameters else ""
        return f"postgresql://{host if not host.startswith('/') else ''}{port}/{self.parameters.get('dbname', '')}"

    def conninfo(self, computer: str) -> str:
        """Return a connection string for libpq, with the timeouts and settings that the locks of runs need.

        `computer` is the name of this computer. It becomes a part of the session's name.
        """
        options = " ".join(f"-c {name}={value}" for name, value in SERVER.items())
        # Disable encryption by GSSAPI. libpq prefers it to TLS, but GSSAPI does not verify the server's certificate.
        tls = {} if is_local(self.parameters) else {"sslmode": VERIFIED, "gssencmode": "disable"}
        auth = {"require_auth": NOT_IN_CLEAR} if self._needs_auth_rule else {}
        name = f"mfa-kit@{quote(computer, safe='.-_')[:LONGEST_NAME]}/{os.getpid()}"
        parameters = {**auth, **self.parameters, **tls, **CLIENT, "options": options, "application_name": name}
        return make_conninfo("", **parameters)

    @property
    def _needs_auth_rule(self) -> bool:
        """Whether NOT_IN_CLEAR is needed: TLS does not verify the server, and PGREQUIREAUTH is not set."""
        verified = not is_local(self.parameters) or self.parameters.get("sslmode") == VERIFIED
        return not verified and "PGREQUIREAUTH" not in os.environ


def check_one_server(parameters: Mapping[str, str]) -> None:
    """Raise UsageFault if the parameters of a connection, or libpq's environment variables, name several servers."""
    variables = {"host": os.environ.get("PGHOST", ""), "hostaddr": os.environ.get("PGHOSTADDR", "")}
    if any("," in parameters.get(name, variable) for name, variable in variables.items()):
        raise UsageFault(
            "the ledger's address names several servers, but each server has its own locks", "name one server"
        )


def is_local(parameters: Mapping[str, str]) -> bool:
    """Return whether the address shows that the server is on this computer: the host is a Unix socket or loopback.

    libpq prefers `hostaddr` to `host`. libpq takes missing parameters from the service, and then from environment
    variables. Without a host, it uses a Unix socket. The host of a service is in a file that is not read here. So a
    service counts as another computer, unless the address itself has a `hostaddr` on this computer.
    """
    if "service" in parameters or "PGSERVICE" in os.environ:
        host = parameters.get("hostaddr", "")
        if not host:
            return False
    else:
        host = parameters.get("hostaddr") or os.environ.get("PGHOSTADDR", "")
        host = host or parameters.get("host") or os.environ.get("PGHOST", "")
    if not host:
        return True
    return host.startswith(("/", "@")) or is_loopback(f"http://[{host}]" if ":" in host else f"http://{host}")


def parse_address(text: str) -> Address:
    """Parse the address of a ledger: a connection string of libpq.

    Raise UsageFault if the address is empty or not such a string, contains a password, names several servers, or sets
    an `sslmode` that does not verify a server on another computer. Raise UsageFault also if PGPASSWORD is set. The
    message does not quote the address.
    """
    if not text.strip():
        raise UsageFault("the ledger's address is empty", "write postgresql://HOST/DATABASE or service=NAME")
    malformed = UsageFault(
        "the ledger's address is not a connection string of PostgreSQL",
        "write postgresql://HOST/DATABASE or service=NAME",
    )
    try:
        parameters = {name: str(value) for name, value in conninfo_to_dict(text).items()}
    except psycopg.Error:
        raise malformed from None
    # In `postgresql://user:pass/word@host/db`, libpq reads parts of the password as the port and the database. Later
    # messages would quote these parts.
    if _holds_password_parts(parameters):
        raise malformed
    if any(parameters.get(name) for name in PASSWORDS):
        raise UsageFault("the ledger's address contains a password, which other programs could read", KEEP)
    if os.environ.get("PGPASSWORD"):
        raise UsageFault("PGPASSWORD is set, and other programs could read it", f"unset it, and {KEEP}")
    check_one_server(parameters)
    mode = parameters.get("sslmode", VERIFIED)
    if mode != VERIFIED and not is_local(parameters):
        raise UsageFault(
            f"with sslmode={mode}, the identity of the server is not verified",
            "use sslmode=verify-full, or leave it out",
        )
    return Address(parameters)


def _holds_password_parts(parameters: Mapping[str, str]) -> bool:
    """Return whether the port is not a number, or the host or the database contains an `@`.

    Then libpq has probably split a password with a `/` into these parameters.
    """
    port, host = parameters.get("port", ""), parameters.get("host", "")
    names = (parameters.get("dbname", ""), "" if host.startswith("@") else host)
    return not re.fullmatch(r"[\d,]*", port, re.ASCII) or any("@" in name for name in names)

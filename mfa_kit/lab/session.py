"""Runs a lab with command-line options. With --state, saves the lab when it ends."""

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.message import suggest
from mfa_kit.lab import child
from mfa_kit.lab.aws.description import read_description
from mfa_kit.lab.aws.faults import read_rules
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.aws.state import describe_lab, save_description
from mfa_kit.posix.open_files import try_to_lock

ACCOUNT_FILE = "account.json"
USERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LabOptions:
    """The command-line options of a lab.

    `users` is the number of users of each account, and `accounts` the number of member accounts of an organization.
    `source` is a file that describes the initial account (--from), `folder` is where the account is saved (--state),
    and `rules` is a file of fault rules. `timings` are settings in the form `name=value`. `latency` is in seconds.
    `rate` and `burst` are the parameters of the fault `bucket`.
    """

    users: int | None = None
    accounts: int | None = None
    region: str | None = None
    port: int = 0
    latency: float = 0
    rate: float = 0
    burst: float = 0
    source: Path | None = None
    folder: Path | None = None
    rules: Path | None = None
    timings: Sequence[str] = ()


@contextmanager
def running_lab(options: LabOptions) -> Iterator[tuple[Lab, Path]]:
    """Run a lab. Yield a pair: the lab, and the folder that its commands use as MFA_KIT_HOME.

    If the options name a folder, save the account there when the lab ends. Raise UsageFault for invalid options.
    """
    with ExitStack() as stack:
        if options.folder is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mfa-kit-lab-")))
        else:
            stack.enter_context(_locked(options.folder))
            home = options.folder.absolute() / "home"  # a command may change its working directory
            home.mkdir(mode=0o700, exist_ok=True)
        users, description = _start(options)
        lab = stack.enter_context(
            Lab(
                users,
                accounts=options.accounts,
                users_per_account=len(users),
                region=options.region or "us-east-1",
                port=options.port,
                settings=_settings(options.timings),
                description=description,
            )
        )
        _plant(lab, options)
        try:
            yield lab, home
        finally:
            if options.folder is not None:
                save_description(describe_lab(lab.organization), options.folder / ACCOUNT_FILE)


def _start(options: LabOptions) -> tuple[list[str], dict[str, object] | None]:
    """Return a pair: the names of users to create, and the description of the initial account.

    The description comes from the folder of --state, or else from the file of --from. It is None for a new account.
    Raise UsageFault for options that exclude each other, and for an invalid file.
    """
    file = options.folder / ACCOUNT_FILE if options.folder else None
    if file is not None and file.exists():
        if options.source or (options.users, options.accounts) != (None, None):
            raise UsageFault(
                f"{file} already contains an account", "omit --from, --users and --accounts, or use another folder"
            )
        return [], read_description(file)
    return _new(options)


def _new(options: LabOptions) -> tuple[list[str], dict[str, object] | None]:
    """Return the pair that `_start` describes, for a lab without a saved account.

    Raise UsageFault as `_start` does.
    """
    if options.source is None:
        return child.user_names(USERS if options.users is None else options.users), None
    if options.accounts is not None:
        raise UsageFault("--accounts makes an organization, but --from describes an account", "omit one of them")
    return child.user_names(options.users or 0), read_description(options.source)


def _plant(lab: Lab, options: LabOptions) -> None:
    """Add the faults from the options to a lab. Raise UsageFault for an invalid rule or option."""
    for number, row in enumerate(read_rules(options.rules) if options.rules else [], 1):
        try:
            lab.faults.add_row(row)
        except UsageFault as error:
            raise UsageFault(f"rule {number} of {options.rules}: {error}", error.hint) from None
    if options.latency:
        lab.faults.add("*", "latency", at="every", seconds=options.latency)
    if options.burst and not options.rate:
        raise UsageFault("--burst needs --rate", "add --rate N, or omit --burst")
    if options.rate:
        lab.faults.add("*", "bucket", rate=options.rate, burst=options.burst or max(1.0, options.rate))


def _settings(assignments: Sequence[str]) -> LabSettings:
    """Return the default settings of a lab, changed by `assignments`: texts of the form `name=value`.

    Raise UsageFault for an unknown setting or an impossible value.
    """
    settings = LabSettings()
    for assignment in assignments:
        name, _, value = assignment.partition("=")
        try:
            settings = replace(settings, **{name: type(getattr(settings, name))(value)})
        except (AttributeError, TypeError, ValueError):
            names = ", ".join(setting.name for setting in fields(LabSettings))
            raise UsageFault(
                f"{assignment!r} is not a setting of the lab",
                suggest(f"use NAME=NUMBER, where NAME is one of {names}; see", "help lab/settings"),
            ) from None
    return settings


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Create a folder if it is missing, and lock it until the context ends.

    Raise UsageFault if another lab uses it, or if it cannot be created or opened.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageFault(
            f"{folder} cannot store the state of a lab: {error.strerror}", "use a folder that you own"
        ) from None
    try:
        try_to_lock(lock)
    except BlockingIOError:
        os.close(lock)
        raise UsageFault(f"another lab is using {folder}", "end that lab, or use another folder") from None
    try:
        yield
    finally:
        os.close(lock)

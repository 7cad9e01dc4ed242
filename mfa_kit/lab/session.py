"""A lab from beginning to end as the command line wants one: what it starts from, what it keeps, whom it serves."""

import fcntl
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from mfa_kit.core.errors import UsageFault
from mfa_kit.lab import child
from mfa_kit.lab.aws import description as form
from mfa_kit.lab.aws import faults, state
from mfa_kit.lab.aws.codes import LabSettings
from mfa_kit.lab.aws.server import Lab

ACCOUNT_FILE = "account.json"
USERS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class LabOptions:
    """What was asked for on the command line."""

    users: int | None = None
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
def running_lab(wish: LabOptions) -> Iterator[tuple[Lab, Path]]:
    """Run a lab; yield it and its MFA_KIT_HOME. With a folder, the account is kept there when the lab ends."""
    with ExitStack() as stack:
        if wish.folder is None:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="mfa-kit-lab-")))
        else:
            stack.enter_context(_locked(wish.folder))
            home = wish.folder / "home"
            home.mkdir(mode=0o700, exist_ok=True)
        users, description = _start(wish)
        lab = stack.enter_context(
            Lab(
                users,
                region=wish.region or "us-east-1",
                port=wish.port,
                settings=_settings(wish.timings),
                description=description,
            )
        )
        _plant(lab, wish)
        try:
            yield lab, home
        finally:
            if wish.folder is not None:
                state.save_account(lab.account, wish.folder / ACCOUNT_FILE)


def _start(wish: LabOptions) -> tuple[list[str], dict[str, object] | None]:
    """Users to make and the account to start from: a kept one, a described one, or a fresh one."""
    kept = wish.folder / ACCOUNT_FILE if wish.folder else None
    if kept is not None and kept.exists():
        if wish.source or wish.users is not None:
            raise UsageFault(f"{kept} holds an account already", "leave --from and --users out, or take another folder")
        return [], form.read_description(kept)
    if wish.source:
        return child.user_names(wish.users or 0), form.read_description(wish.source)
    return child.user_names(USERS if wish.users is None else wish.users), None


def _plant(lab: Lab, wish: LabOptions) -> None:
    for number, row in enumerate(faults.read_rules(wish.rules) if wish.rules else [], 1):
        try:
            lab.faults.add_row(row)
        except UsageFault as error:
            raise UsageFault(f"rule {number} of {wish.rules}: {error}", error.hint) from None
    if wish.latency:
        lab.faults.add("*", "latency", at="every", seconds=wish.latency)
    if wish.burst and not wish.rate:
        raise UsageFault("--burst is of a --rate, and there is none", "give both, or neither")
    if wish.rate:
        lab.faults.add("*", "bucket", rate=wish.rate, burst=wish.burst or max(1.0, wish.rate))


def _settings(given: Sequence[str]) -> LabSettings:
    """Read `name=value` pairs. Raise UsageFault for a setting that is none."""
    settings = LabSettings()
    for each in given:
        name, _, value = each.partition("=")
        try:
            settings = replace(settings, **{name: type(getattr(settings, name))(value)})
        except (AttributeError, TypeError, ValueError):
            names = ", ".join(one.name for one in fields(LabSettings))
            raise UsageFault(
                f"{each!r} sets nothing of a lab", f"settings are numbers from 0 on: {names}; see docs/lab.md"
            ) from None
    return settings


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder for one lab at a time."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise UsageFault(f"{folder} cannot keep a lab: {error.strerror}", "give a folder of your own") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise UsageFault(f"another lab runs on {folder}", "end it, or take another folder") from None
    try:
        yield
    finally:
        os.close(lock)

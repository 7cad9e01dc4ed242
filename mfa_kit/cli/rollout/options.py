"""Arguments and options that several commands of `mfa-kit rollout` share."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import BACKUP_DIR, LOCAL_BACKUPS, RECIPIENTS_FILE
from mfa_kit.core.models import BackupLocation
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.wiring.settings import Settings

F = TypeVar("F", bound=Callable[..., object])

PLAN_FILE = click.argument("plan_file", metavar="PLAN", type=Path)
# One plan, as a tuple with one path, for commands whose code also handles the several paths of PLAN_FILES.
ONE_PLAN_FILE = click.argument(
    "plan_files", metavar="PLAN", type=Path, callback=lambda _ctx, _param, value: (value,) if value else ()
)
PLAN_FILES = click.argument("plan_files", metavar="PLAN...", nargs=-1, required=True, type=Path)
WORKERS = click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=8,
    show_default=True,
    help="Number of users processed at the same time.",
)
STAGE = click.option("--stage", "staged", is_flag=True, help="Create devices; `rollout activate` enables them later.")
ACCEPT_LOCKOUT = click.option(
    "--accept-lockout",
    is_flag=True,
    help="Also enroll users who have no public key. You must give them their secrets.",
)
MAX_FAILURES = click.option(
    "--max-failures", type=click.IntRange(0), metavar="N", help="Stop when more than N users have failed."
)
AT_ONCE = click.option(
    "--at-once",
    type=click.IntRange(1, 32),
    default=1,
    show_default=True,
    metavar="N",
    help="Number of accounts in which this process works at the same time.",
)
WATCH = click.option(
    "--watch",
    is_flag=True,
    help="Show the progress of all workers, until all accounts are complete. This reads only the ledger.",
)
RESULTS = click.option(
    "--results", type=Path, metavar="DIR", help="Folder for results.csv, results.json and failed.csv [next to PLAN]."
)
EXPECTED = click.option(
    "--expect-sha256",
    "expected",
    multiple=True,
    metavar="HEX",
    help="Refuse PLAN if the SHA-256 of its file is not HEX.",
)
ONLY = click.option("--only", metavar="A,B", help="Only these users.")
GROUP = click.option("--group", "groups", multiple=True, metavar="NAME", help="Only users in this IAM group.")
RECIPIENT = click.option(
    "-r",
    "--recipient",
    "to",
    multiple=True,
    metavar="RECIPIENT",
    help="Encrypt each backup to this age or SSH public key too.",
)


def backup_options(function: F) -> F:
    """Add the options for the recipients and the folder of backups."""
    return RECIPIENT(RECIPIENTS_FILE(BACKUP_DIR(function)))


def split_names(only: str | None) -> list[str]:
    """Return the user names in `--only A,B`, or an empty list if the option was not given."""
    return [name.strip() for name in (only or "").split(",") if name.strip()]


OPTIONS = (
    backup_options,
    LOCAL_BACKUPS,
    STAGE,
    ACCEPT_LOCKOUT,
    MAX_FAILURES,
    EXPECTED,
    RESULTS,
    WORKERS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """The options of `rollout apply` and `rollout work`. A process of `rollout work` is called a worker.

    `plan_files` has one plan or index; a worker can have several. `to`, `to_files`, `backup_dir` and `local_backups`
    are as in `open_backup_store`. `results` is the folder for the files of results; for an index, each account gets a
    subfolder. `workers` is not a number of processes, but the maximum number of calls to AWS in progress at a time in
    each account. `at_once` is the number of accounts in which a worker works at the same time. It is None for `apply`,
    which does not wait until other processes have left an account.
    """

    plan_files: tuple[Path, ...]
    to: tuple[str, ...]
    to_files: tuple[Path, ...]
    backup_dir: BackupLocation | None
    local_backups: bool
    staged: bool
    accept_lockout: bool
    max_failures: int | None
    expected: tuple[str, ...]
    results: Path | None
    workers: int
    at_once: int | None = None

    def store(self, settings: Settings) -> BackupStore:
        """Return the BackupStore for the new backups, as `open_backup_store` does."""
        return wiring.stores.open_backup_store(
            settings, self.backup_dir, to=self.to, to_files=self.to_files, local_backups=self.local_backups
        )


def apply_options(function: F) -> F:
    """Add the options of `apply` to a command. The command must add the argument `plan_files` itself.

    The command's function gets the values in one parameter, `options`, an ApplyOptions.
    """

    @wraps(function)
    def parse_options(**values: Any) -> Any:
        own = {field.name: values.pop(field.name) for field in fields(ApplyOptions) if field.name in values}
        return function(options=ApplyOptions(**own), **values)

    verb: Any = parse_options
    for option in reversed(OPTIONS):
        verb = option(verb)
    command: F = verb
    return command

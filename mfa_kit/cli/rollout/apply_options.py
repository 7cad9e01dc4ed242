"""The options of `rollout apply` and `rollout work`, parsed into one value."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

from mfa_kit import wiring
from mfa_kit.cli.backup_options import LOCAL_BACKUPS
from mfa_kit.cli.rollout import shared_options
from mfa_kit.core.models import BackupLocation
from mfa_kit.enrollment.ports import BackupStore
from mfa_kit.wiring.settings import Settings

F = TypeVar("F", bound=Callable[..., Any])

OPTIONS = (
    shared_options.backup_options,
    LOCAL_BACKUPS,
    shared_options.STAGE,
    shared_options.ACCEPT_LOCKOUT,
    shared_options.MAX_FAILURES,
    shared_options.EXPECTED,
    shared_options.RESULTS,
    shared_options.WORKERS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """The options of `rollout apply` and `rollout work`. A process of `rollout work` is called a worker.

    `plan_files` has one plan or index; a worker can have several. `to`, `to_files`, `backup_dir` and `local_backups`
    are as in `open_vault_for_new`. `results` is the folder for the files of results; for an index, each account gets a
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
        """Return the BackupStore for the new backups, as `open_vault_for_new` does."""
        return wiring.stores.open_vault_for_new(
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

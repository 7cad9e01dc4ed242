"""The options of `rollout apply` and `rollout work`, parsed."""

from dataclasses import dataclass
from pathlib import Path

from mfa_kit.enrollment.ports import Vault


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """The options for the plan or the index in `plan_file`.

    `results` is the folder for the files of results; for an index, each account gets a subfolder. `workers` is the
    number of threads in each account. `at_once` is the number of accounts in which a worker (`rollout work`) works at
    the same time. It is None for `apply`, which works in all accounts, even if other processes work there.
    """

    plan_file: Path
    vault: Vault
    staged: bool
    accept_lockout: bool
    max_failures: int | None
    expected: str | None
    results: Path | None
    workers: int
    at_once: int | None = None

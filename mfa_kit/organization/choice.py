"""The options that select accounts, and the role that mfa-kit assumes in each account."""

from dataclasses import dataclass
from pathlib import Path

# The default role for commands that only read. `mfa-kit policy org-role` prints a template that creates this role.
AUDIT_ROLE = "mfa-kit-audit"
# The default number of accounts that are read at the same time.
WORKERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountsChoice:
    """The options of a command that works in many accounts: which accounts, and the role to assume in them.

    `file` is the accounts file. If it is None, Organizations lists the accounts: all accounts of the organization, or
    only those in the unit `ou` (the ID of a unit or of the root) and in the units below it. `include` and `exclude` are
    account IDs and names, and `tags` are texts such as `env:prod`.

    `role_name` is the role that is assumed in accounts that have neither a role nor a profile. It is None if the
    command has no default role. With `replaces_roles`, this role also replaces the last role of each account that has
    roles. `external_id` and `source_identity` are sent with AssumeRole. `workers` is the number of accounts to work in
    at the same time. `output_dir` is the folder for the results. With `resume`, accounts whose complete results are
    already there are not read again.
    """

    file: Path | None = None
    ou: str | None = None
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    role_name: str | None = AUDIT_ROLE
    replaces_roles: bool = False
    external_id: str | None = None
    source_identity: str | None = None
    workers: int = WORKERS
    resume: bool = False
    output_dir: Path | None = None

    @property
    def org(self) -> bool:
        """Whether the accounts are listed by Organizations instead of a file."""
        return self.file is None

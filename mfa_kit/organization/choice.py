"""The accounts that a command line chooses, and how mfa-kit works in them."""

from dataclasses import dataclass
from pathlib import Path

# The role of verbs that only read. `mfa-kit policy org-role` prints a template that creates it.
AUDIT_ROLE = "mfa-kit-audit"
# How many accounts are read at the same time.
WORKERS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountsChoice:
    """The options for many accounts: where the accounts are listed, which of them are chosen, and the role in each.

    The accounts are those in `file`. If it is None, they are those of the organization, or of its unit `ou` (the ID of
    a unit or of the root) and the units below. `include` and `exclude` are IDs and names, and `tags` texts such as
    `env:prod`.

    `role_name` is assumed in accounts that name no role or profile, and with `replaces_roles` instead of the role that
    an account names. It is None if the verb has no default. `external_id` and `source_identity` are sent with
    AssumeRole. `workers` accounts are worked on at the same time. With `resume`, accounts that are complete in
    `output_dir` are not read again.
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
        """Whether Organizations lists the accounts, and not a file."""
        return self.file is None

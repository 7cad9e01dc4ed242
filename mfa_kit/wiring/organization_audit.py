"""Reads the accounts of an organization for an audit, and opens the folder for the results."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from mfa_kit.account.snapshot import Snapshot
from mfa_kit.adapters.files import snapshots
from mfa_kit.adapters.files.snapshots import SNAPSHOT_FILE, account_folders
from mfa_kit.organization.across import AccountFolders
from mfa_kit.wiring.audit import SnapshotSource, snapshot_of_account
from mfa_kit.wiring.organization import OpenAccount, Organization
from mfa_kit.wiring.organization_root import OrganizationRoot, open_organization_root
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.store import open_vault, stored_backups


@contextmanager
def open_folders(base: Path | None) -> Iterator[AccountFolders | None]:
    """Create or open the folder for results, and yield it. Yield None if `base` is None.

    Raise IntegrityFault if the folder cannot be created or used.
    """
    if base is None:
        yield None
        return
    with account_folders(base) as folders:
        yield folders


def snapshot_file(snapshot: Snapshot) -> dict[str, str]:
    """Return a dictionary with one entry: the name and the text of the file in which a snapshot is stored."""
    return {SNAPSHOT_FILE: snapshots.snapshot_text(snapshot)}


def take_snapshot(
    settings: Settings,
    opened: OpenAccount,
    organization: Organization,
    source: SnapshotSource,
    *,
    root: Callable[[], OrganizationRoot] | None = None,
) -> Snapshot:
    """Read an account for an audit. The snapshot names the parts that could not be read.

    `root`, if given, returns an OrganizationRoot. With it, this function also reads what the caller's account can see
    of the root user in this account.
    """
    account = opened.account.id
    store = open_vault(settings, source.backup_dir)
    return snapshot_of_account(
        opened.iam,
        opened.caller,
        source,
        ledger=organization.ledger,
        store=lambda: store,
        stored=partial(stored_backups, settings, source.backup_dir),
        map_each=organization.within,
        central_root=(lambda: root().central(opened.account, opened.iam)) if root else None,
        member_root=(lambda: root().posture(account)) if root else None,
    )


def root_of(organization: Organization) -> Callable[[], OrganizationRoot]:
    """Call `open_organization_root` in another thread, so that the caller does not wait for the calls to AWS.

    Return a function that waits for the OrganizationRoot and returns it.
    """
    pool = ThreadPoolExecutor(1)
    asked = pool.submit(open_organization_root, organization.caller.account, organization.home, organization.sessions)
    pool.shutdown(wait=False)
    return asked.result

"""Snapshots: taken of the account that the flags say, or read from a file."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.account.reading import survey
from mfa_kit.account.snapshot import Backup, Person, Snapshot
from mfa_kit.cli import messages
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import Device
from mfa_kit.wiring import desk
from mfa_kit.wiring.backup import name_of
from mfa_kit.wiring.backup_records import backup_records
from mfa_kit.wiring.files import check_new

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from mfa_kit.account.source import Account
    from mfa_kit.adapters.ledger.ledger import Ledger
    from mfa_kit.wiring.settings import Settings

# Requests at once: what IAM's unpublished rates are known to bear.
AT_ONCE = 8
# Devices that this desk made and that stand, and the last time that each backup opened.
MADE = "select distinct serial from journal where reached = 'confirmed'"
OPENED = "select file, max(at) from events where operation = 'OpenBackup' and answer = 'OK' group by file"


@contextmanager
def snapshot(
    settings: Settings,
    *,
    file: Path | None,
    max_age: float,
    backup_dir: Path | None = None,
    passwords_of: Callable[[Person], bool] = lambda _: False,
    afresh: Callable[[Person], bool] = lambda _: False,
) -> Iterator[tuple[Snapshot, Account | None]]:
    """Read a snapshot that was saved, or take one, and save it where a new file is named; tell which it is.

    The account itself comes along where it was asked.
    """
    from mfa_kit.adapters.files import snapshots

    talk = messages.Talk()
    if file is not None and file.exists():
        found = snapshots.read(file)
        talk.note(f"offline: account {desk.beside_lab(found.account)} as {file} has it")
        yield found, None
        return
    if file is not None:
        check_new(file)
    with desk.connected(settings) as (iam, ledger, caller):
        from mfa_kit.adapters.aws.account import Reader

        account = Reader(iam.ask, now=iam.now)
        with ThreadPoolExecutor(AT_ONCE) as pool:
            found = survey(
                iam,
                account,
                caller=caller,
                max_age=max_age,
                backups=lambda virtual: _backups(virtual, ledger, backup_dir),
                each=pool.map,
                passwords_of=passwords_of,
                afresh=afresh,
            )
        if file is not None:
            snapshots.write(found, file)
            talk.note(f"{file} is the snapshot; it says who is weak: keep it to yourself")
        yield found, account


def _backups(virtual: tuple[Device, ...], ledger: Ledger, folder: Path | None) -> tuple[Backup, ...]:
    """Tell of each device that stands and that this desk made where its backup is, when it opened and was drilled."""
    vault, drills = desk.vault((), (), folder), backup_records(ledger).drills()
    made = {serial for (serial,) in ledger.select(MADE)}
    opened = {Path(file).name: at for file, at in ledger.select(OPENED) if file}
    found = []
    for device in virtual:
        if device.user is None or device.serial not in made:
            continue
        entry = ledger.find(device.serial)
        if entry is None or entry.intent.user != device.user:
            continue
        place = vault.find(entry)
        file = place or entry.backup
        found.append(
            Backup(
                serial=device.serial,
                user=device.user,
                file=file,
                there=place is not None,
                made=entry.began,
                opened=opened.get(Path(file).name) if file else None,
                drilled=drills.get(name_of(Path(file))) if file else None,
            )
        )
    return tuple(found)


def partition(settings: Settings, named: str | None) -> str | None:
    """Return the partition that is named, or that of the region; None where no region is said anywhere.

    Raise UsageFault for one that there is none of.
    """
    import botocore.exceptions
    import botocore.session

    try:
        session = botocore.session.Session(profile=settings.profile)
        known = session.get_available_partitions()
        region = settings.region or session.get_config_variable("region")
    except botocore.exceptions.ProfileNotFound as error:
        raise UsageFault(str(error), "choose another --profile") from None
    if named is not None:
        if named not in known:
            raise UsageFault(f"there is no partition {named!r}", f"name one of {', '.join(known)}")
        return named
    try:
        return str(session.get_partition_for_region(region)) if region else None
    except botocore.exceptions.UnknownRegionError:
        raise UsageFault(f"there is no region {region!r}", "name one such as us-east-1, or give --partition") from None

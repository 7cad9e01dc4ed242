"""What becomes of sealed backups: who can open them, which are exposed, which are drilled, which may go. Pure."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from mfa_kit.core import otp
from mfa_kit.core.errors import NoSuchEntity, UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.models import Backup, Mark, Seal
from mfa_kit.core.otp import Mistake, Seed
from mfa_kit.enrollment.ports import Inventory

# The account itself; `check_user` lets no user have this name.
ROOT = "root"
# Steps that the clock of a phone may be off in a drill, which is of the seed: five minutes.
WITHIN = 10
# Wrong codes after which a drill says that they differ.
TRIES = 3
# Seconds: IAM may not list for a while what was just made.
YOUNG = 86400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Opens:
    """For whom a backup is sealed; None where that is not on record."""

    backup: Backup
    recipients: tuple[str, ...] | None


def openers(backups: Iterable[Backup], seals: Iterable[Seal]) -> list[Opens]:
    """Tell who can open each; a user's own copy is a copy of it."""
    now: dict[str, dict[str, None]] = {}
    for seal in seals:
        if seal.until is None:
            now.setdefault(seal.backup, {})[seal.recipient] = None
    return [Opens(backup=each, recipients=tuple(now[each.name]) if each.name in now else None) for each in backups]


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposed:
    """A backup that a recipient's key opens: since when, and until when this desk's file was sealed for it.

    `since` is None where it is not on record for whom the backup is.
    """

    backup: Backup
    since: float | None
    until: float | None = None


def exposed(
    recipient: str, backups: Iterable[Backup], seals: Iterable[Seal], *, gone: Collection[str]
) -> list[Exposed]:
    """Return what a recipient's key opens or ever opened, less the devices that are gone; what is not known counts."""
    known: set[str] = set()
    its: dict[str, list[Seal]] = {}
    for seal in seals:
        known.add(seal.backup)
        if seal.recipient == recipient:
            its.setdefault(seal.backup, []).append(seal)
    meant = [each for each in backups if each.name not in gone and (each.name in its or each.name not in known)]
    return [_exposed(each, its.get(each.name, [])) for each in meant]


def _exposed(backup: Backup, seals: Sequence[Seal]) -> Exposed:
    ends = [seal.until for seal in seals if seal.until is not None]
    return Exposed(
        backup=backup,
        since=min((seal.since for seal in seals), default=None),
        until=max(ends) if ends and len(ends) == len(seals) else None,
    )


def drill_due(backup: Backup, drills: Mapping[str, float], *, since: float) -> bool:
    """Whether a backup was made before a Unix time and gave no right code from then on."""
    return max(backup.made, drills.get(backup.name, 0.0)) < since


def check_not_lost(device: str, run: str | None, *, lost: Iterable[str]) -> None:
    """Raise UsageFault for a backup of a device that was reported lost: whoever has that one has the same codes.

    `lost` are the runs of the losses of that name. A device that this desk did not make is lost under a run of that
    moment, so any loss from the backup's run on is of this device, or of a later one of that name.
    """
    if any(run is None or loss >= run for loss in lost):
        raise UsageFault(
            f"{device} was reported lost, and whoever has it would have the same codes",
            "give a new device: mfa-kit enroll USER",
        )


class Drill(StrEnum):
    """What came of a drill."""

    PROVED = "proved"
    DIFFERS = "differs"
    SKIPPED = "skipped"


def drill(seed: Seed, *, now: Callable[[], float], interaction: Interaction, instead: str) -> Drill:
    """Have a person type a code of the device, and judge it by the seed of the backup."""
    wrong = 0
    while wrong < TRIES:
        typed = interaction.ask_code("code, or Enter to leave it out", instead=instead)
        if not typed:
            return Drill.SKIPPED
        found = otp.diagnose(typed, seed, at=now(), within=WITHIN)
        if not isinstance(found, Mistake):
            return Drill.PROVED
        interaction.say(f"{found.what}: {found.hint}")
        wrong += not isinstance(otp.digits(typed), Mistake)
    return Drill.DIFFERS


class Why(StrEnum):
    """Why a backup may go."""

    LEFT = "the user left"
    GONE = "the device is gone"


def prunable(
    backups: Sequence[Backup], *, account: str, older: float | None, inventory: Inventory
) -> Iterator[tuple[Backup, Why]]:
    """Yield the backups of users that IAM has no more, and where `older` is given, in seconds, of devices gone.

    What stands keeps its backup, and so does what IAM says nothing of: another account's, root's, and what is young.
    """
    now, there = inventory.now(), {name.lower() for name in inventory.users()}
    free = inventory.unassigned()
    devices: dict[str, list[str] | None] = {}
    for backup in backups:
        left = backup.user.lower() not in there
        age = now - backup.made
        if backup.account != account or backup.user == ROOT or age < YOUNG or not (left or older is not None):
            continue
        if backup.user not in devices:
            devices[backup.user] = _devices(backup.user, inventory)
        has = devices[backup.user]
        if not _stands(backup, [*(has or ()), *free], inventory):
            if has is None:
                yield backup, Why.LEFT
            elif older is not None and age >= older:
                yield backup, Why.GONE


def _devices(user: str, inventory: Inventory) -> list[str] | None:
    """Return the serials of a user's devices; None when there is no such user."""
    try:
        return [device.serial for device in inventory.devices(user)]
    except NoSuchEntity:
        return None


def _stands(backup: Backup, serials: Iterable[str], inventory: Inventory) -> bool:
    """Whether a device is, or may be, the one that a backup is of."""
    mine = [serial for serial in serials if serial.rpartition("/")[2].lower() == backup.device.lower()]
    return any(inventory.run_of(serial) in {backup.run, Mark.UNTAGGED} for serial in mine)

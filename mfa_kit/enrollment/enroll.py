"""Enroll one user: settle, look, make, confirm. `make` is also what a rollout calls for each of its rows."""

import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import Protocol

from mfa_kit.core import otp
from mfa_kit.core.errors import (
    AccessDenied,
    AlreadyExists,
    AwsFault,
    DeviceFault,
    InvalidCode,
    MfaKitError,
    NoSuchEntity,
    Throttled,
    Unclear,
    Unlisted,
    Unsettled,
    UsageFault,
)
from mfa_kit.core.models import (
    CARD_TAG,
    HARDWARE_TAG,
    KIND_TAG,
    RUN_TAG,
    STAGED_TAG,
    USER_NAME,
    USER_TAG,
    VIRTUAL,
    Caller,
    Device,
    DeviceType,
    Enrolled,
    Entry,
    Intent,
    Mark,
    Method,
    Outcome,
    Reached,
    Skipped,
    Staged,
    Verb,
    check_user,
)
from mfa_kit.core.otp import Created, Pair, Seed
from mfa_kit.enrollment.ports import Carrier, Desk, Inventory
from mfa_kit.enrollment.recovery import (
    carrier_of,
    confirmed,
    delete_command,
    forget,
    listed,
    listed_soon,
    settle,
    settle_dead,
)

# IAM quotas: MFA devices of any kind a user.
MAX_DEVICES = 8
# Requests to create that may go unanswered before we give up.
CREATE_TRIES = 4

OTHER_MAKERS = (
    "AWS has the seeds of tokens that were made for it, and of no others: a factory-seeded token of another maker "
    "cannot be used; docs/hardware-tokens.md"
)

# IAM API reference, Tag: user names may hold a comma, tag values may not.
TAG_VALUE = re.compile(r"[\w\s.:/=+@-]{0,256}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What was asked for, before anything was read."""

    user: str
    method: Method = VIRTUAL
    name: str | None = None
    path: str = "/"
    add: bool = False
    recipient: str | None = None
    tags: tuple[tuple[str, str], ...] = ()


class Maker(Protocol):
    """`make` for a kind whose seed we are given, `assign` for one whose seed AWS has already."""

    def __call__(self, intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Enrolled: ...


def user_named(text: str, *, caller: Caller, inventory: Inventory) -> str:
    """Return the user that a name, an ARN or `@me` means, as IAM spells it. Raise UsageFault for what is no user here.

    IAM sees no case in names; the journal, tags and backups do.
    """
    name = _named(text, caller=caller)
    if caller.user and name.lower() == caller.user.lower():
        return caller.user
    return inventory.spelled(name) if USER_NAME.fullmatch(name) and name != "root" else name


def _named(text: str, *, caller: Caller) -> str:
    if text == "@me":
        if caller.user is None:
            raise UsageFault(f"you are no IAM user but {caller.arn}", "give a user name instead of @me")
        return caller.user
    if not text.startswith("arn:"):
        return text
    here = f"arn:{caller.partition}:iam::{caller.account}:"
    if not text.startswith(here):
        raise UsageFault(f"{text} is not of this account, {caller.account}", "choose another --profile")
    resource = text.removeprefix(here)
    if resource != "root" and not resource.startswith("user/"):
        raise UsageFault(f"{text} is not a user", "name an IAM user: only users have MFA devices of their own")
    return resource.rpartition("/")[2]


def enroll(
    wish: Wish, carrier: Carrier, *, caller: Caller, desk: Desk, run: str, maker: Maker | None = None
) -> Outcome:
    """One user at a desk, in the order that docs/design.md gives. Raise MfaKitError; nothing half-made stays behind."""
    check_user(wish.user)
    unsettled = settle_dead(caller.account, wish.user, desk=desk)
    intent = look(wish, carrier, caller=caller, desk=desk)
    if isinstance(intent, Skipped):
        return intent
    try:
        return (maker or make)(intent, carrier, desk=desk, run=run)
    except MfaKitError as error:
        for earlier in unsettled:
            error.add_note(f"left from an earlier run: {earlier}; {earlier.hint}")
        raise


def look(wish: Wish, carrier: Carrier, *, caller: Caller, desk: Desk) -> Intent | Skipped:
    """Read, touch nothing, and return what can be made. Raise MfaKitError when it cannot.

    The device's name is not looked up: Create is the look, and it touches nothing when the name is taken.
    """
    devices = desk.inventory.devices(wish.user)
    if devices and not wish.add:
        return Skipped(
            user=wish.user,
            reason="has an MFA device already; --add gives one more",
            serials=tuple(device.serial for device in devices),
        )
    return plan(wish, carrier, devices=devices, caller=caller, desk=desk)


def plan(
    wish: Wish, carrier: Carrier, *, devices: Sequence[Device], caller: Caller, desk: Desk, going: str | None = None
) -> Intent:
    """Return the device to make for a user who has these, after asking the carrier and the vault. Raise UsageFault.

    The name of a device that is `going` first is not used again by itself: a request to deactivate it that was thought
    lost may still arrive, and would meet the new one.
    """
    if len(devices) >= MAX_DEVICES:
        raise UsageFault(
            f"{wish.user} has {len(devices)} MFA devices, the most that IAM allows",
            make_room(wish.user, devices),
        )
    has = {serial for device in devices for serial in (device.serial, device.serial.removesuffix(_id(device)))}
    names = [wish.name] if wish.name else (wish.user if n == 1 else f"{wish.user}-{n}" for n in count(1))
    intents = (
        Intent(
            account=caller.account,
            partition=caller.partition,
            user=wish.user,
            name=name,
            method=wish.method,
            path=wish.path,
            recipient=wish.recipient,
            tags=wish.tags,
        )
        for name in names
    )
    taken = has if wish.name else {*has, going}
    intent = next((intent for intent in intents if intent.serial not in taken), None)
    if intent is None:
        raise UsageFault(f"{wish.user} has a device named {wish.name} already", "choose another --name")
    sealed = desk.vault.place(intent, "") is not None
    intent = carrier.check(intent, sealed=sealed)
    if intent.serial in has:
        raise UsageFault(f"{wish.user} has {intent.serial} already", f"see what there is: mfa-kit status {wish.user}")
    if sealed:
        desk.vault.check()
    return intent


def make_room(user: str, devices: Sequence[Device]) -> str:
    """Say how room is made where there is none."""
    names = ", ".join(device.serial.rpartition("/")[2] for device in devices)
    return f"take one away first: mfa-kit revoke {user} --mfa-device NAME, one of {names}"


def _id(device: Device) -> str:
    """Return what IAM put behind the name of a security key."""
    return device.serial.rpartition("/")[2].removeprefix(device.name)


def steps(intent: Intent, *, backup: str | None) -> list[str]:
    """Tell what `make` or `assign` would do, in order, for people who want to read it first."""
    if intent.method.device_type is DeviceType.FIDO2:
        return [
            "verify the key that is plugged in, unless --skip-key-check leaves that out",
            f"say what to click in the console: a security key named {intent.name} for {intent.user}",
            "wait until IAM lists it, and read its certifications",
        ]
    if intent.known_serial is not None:
        return [f"enable {intent.serial} for {intent.user} with two codes off its display", "confirm that IAM lists it"]
    return [
        f"create the virtual MFA device {intent.serial}",
        *([f"seal its QR code in {backup}"] if backup else []),
        *([f"put its seed on the key {intent.hardware}, as {intent.label}"] if intent.card else []),
        f"enable it for {intent.user} with the codes of the previous and the current 30 seconds",
        "confirm that IAM lists it",
    ]


def make(intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Enrolled:
    """Create, seal, install, enable, confirm. Whatever goes wrong, the world is settled before the error goes on."""
    return confirm(enable(intent, carrier, desk=desk, run=run), desk=desk)


def enable(intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Entry:
    """Do all that `make` does but confirm, for who confirms many at once; return the entry of the enabled device."""
    entry, created = _begun(intent, carrier, desk=desk, run=run)
    try:
        carrier.install(intent, created)
        desk.registrar.enable(intent, lambda: carrier.codes(intent))
    except BaseException as error:
        stands = _stands_when_settled(entry, carrier, error, desk=desk)
        if stands is None:
            raise
        entry = stands
        if not isinstance(error, MfaKitError):
            error.add_note(f"{intent.serial} is enabled for {intent.user} after all")
            raise
        desk.progress.note(f"{error}; {intent.serial} is enabled for {intent.user} all the same")
    return entry


def stage(intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Staged:
    """Create and seal, and let the device wait for `resume`: nobody has to sign in with it yet."""
    entry, _ = _begun(intent, carrier, desk=desk, run=run)
    desk.journal.record(entry.at(Reached.STAGED))
    return Staged(intent=intent, run=run, backup=entry.backup)


def _begun(intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> tuple[Entry, Created]:
    """Create and seal; what goes wrong is settled."""
    entry = desk.journal.record(Entry(run=run, intent=intent, backup=desk.vault.place(intent, run)))
    try:
        try:
            created = _create(entry, desk=desk)
        except Unclear:
            raise
        except (AwsFault, Throttled):  # IAM said no: nothing was made
            entry = desk.journal.record(entry.at(Reached.UNDONE))
            raise
        entry = replace(entry, reached=Reached.CREATED, answered_here=True)
        desk.journal.record(entry)
        if entry.backup:
            desk.vault.seal(entry, created.uri)
            entry = desk.journal.record(replace(entry, sealed=True))
    except BaseException as error:
        if entry.reached is not Reached.UNDONE:
            _stands_when_settled(entry, carrier, error, desk=desk)
        raise
    return entry, created


def resume(
    user: str,
    carrier: Carrier,
    *,
    opened: Callable[[Entry], Created],
    caller: Caller,
    desk: Desk,
) -> Enrolled:
    """Go on with what a dead run left and sealed, where it may not be deleted: `opened` gives its seed.

    That the device is that run's is proved by its seed, for IAM takes codes of no other. A seed that was to live on a
    key goes to that key. Raise UsageFault when there is none, NoSuchEntity when it was deleted in the meantime.
    """
    check_user(user)
    for entry in desk.journal.dead(caller.account, user=user):
        if entry.verb is Verb.ENROLL and entry.intent.method.name in desk.resumable and desk.vault.find(entry):
            seat = carrier if entry.intent.card is None else carrier_of(entry, desk=desk)
            return confirm(resumed(entry, seat, opened(entry), desk=desk), desk=desk)
    raise UsageFault(
        f"there is no half-made device of {user} with a backup here",
        f"begin anew: mfa-kit enroll {user} --with virtual",
    )


def resumed(entry: Entry, carrier: Carrier, created: Created, *, desk: Desk) -> Entry:
    """Enable a device that was made and sealed, unless it is already; the caller holds the run's lock."""
    intent = entry.intent
    if listed(intent, desk=desk):
        _prove(entry, carrier, created, desk=desk)
    else:
        carrier.check(intent, sealed=True)
        carrier.install(intent, created)
        try:
            desk.registrar.enable(intent, lambda: carrier.codes(intent))
        except NoSuchEntity as gone:
            forget(entry, carrier, Reached.UNDONE, desk=desk)
            gone.hint = f"begin anew, for it was deleted: mfa-kit enroll {intent.user} --with virtual"
            raise
        except (AlreadyExists, Unclear) as error:
            if not listed_soon(intent, desk=desk):
                raise
            desk.progress.note(f"{error}; {intent.serial} is enabled for {intent.user} all the same")
    return entry


def _prove(entry: Entry, carrier: Carrier, created: Created, *, desk: Desk) -> None:
    """Raise Unsettled unless an enabled device is this run's: by its tag, else by codes of its seed that IAM takes."""
    intent = entry.intent
    match desk.inventory.run_of(intent.serial):
        case entry.run:
            return
        case Mark.UNTAGGED:
            carrier.check(intent, sealed=True)
            carrier.install(intent, created)
            try:
                desk.registrar.resync(intent.user, intent.serial, lambda: carrier.codes(intent))
            except InvalidCode:
                raise Unsettled(
                    f"{intent.serial} is enabled, and IAM takes no codes of this backup for it",
                    "codes that were used are spent, so try again in two minutes; when it stays so it is another "
                    f"device: mfa-kit replace {intent.user} --mfa-device {intent.name}",
                ) from None
        case _:
            raise Unsettled(
                f"{intent.serial} is enabled, but another run made it, so this backup is not its",
                f"see whose it is: mfa-kit status {intent.user}",
            )


def assign(intent: Intent, carrier: Carrier, *, desk: Desk, run: str) -> Enrolled:
    """Enable a token whose seed AWS has already, with the pair that its carrier reads; it is sent at once.

    Nothing is created, so nothing is ever deleted: a request whose answer is lost is looked for in IAM's list.
    """
    entry = desk.journal.record(Entry(run=run, intent=intent))
    left = False

    def read() -> Pair:
        nonlocal left
        pair = carrier.codes(intent)
        left = True
        return pair

    try:
        desk.registrar.enable(intent, read)
    except BaseException as error:
        if not left or (isinstance(error, AwsFault | Throttled) and not isinstance(error, Unclear)):
            desk.journal.record(entry.at(Reached.UNDONE))
            raise _told(error, intent) from None
        stands = _stands_when_settled(entry, carrier, error, desk=desk)
        if stands is None:
            raise
        entry = stands
        if not isinstance(error, MfaKitError):
            error.add_note(f"{intent.serial} is enabled for {intent.user} after all")
            raise
        desk.progress.note(f"{error}; {intent.serial} is enabled for {intent.user} all the same")
    return confirm(entry, desk=desk)


def _told(error: BaseException, intent: Intent) -> BaseException:
    """Put what AWS says of a token into words. What it says of a serial that it does not know is not documented."""
    match error:
        case NoSuchEntity():
            return DeviceFault(
                f"AWS does not know a token with the serial {intent.serial}",
                f"compare it with what is printed on the token; {OTHER_MAKERS}",
            )
        case InvalidCode():
            return InvalidCode(
                f"AWS took neither the codes of {intent.serial} nor, perhaps, the token",
                f"see that it is this token's display, and type each code as it is shown; {OTHER_MAKERS}",
            )
        case AwsFault() if type(error) is AwsFault:
            error.add_note(OTHER_MAKERS)
            return error
        case _:
            return error


def confirm(entry: Entry, *, desk: Desk) -> Enrolled:
    """Compare with IAM's own list. The device is enabled anyway: what cannot be confirmed leaves the entry open."""
    made = Enrolled(intent=entry.intent, run=entry.run, backup=entry.backup)
    try:
        look = listed if entry.looked_for else listed_soon
        if look(entry.intent, desk=desk):
            confirmed(entry, desk=desk)
            return made
        reason = "IAM does not list it yet"
    except MfaKitError as error:
        reason = str(error)
    except BaseException as error:
        error.add_note(f"{entry.intent.serial} is enabled for {entry.intent.user}, but was not confirmed")
        raise
    desk.progress.note(f"warning: {entry.intent.serial} is enabled, but not confirmed: {reason}")
    return replace(made, listed=False)


def _create(entry: Entry, *, desk: Desk) -> Created:
    """Create, without tags where they are denied, and again where an answer was lost.

    A name is taken by one device only, so of two requests at most one acts: trying again is the look. A device that
    bears this run's tag was made by a request whose answer, and with it the seed, is lost: deleted, and made again.
    Raise Unclear when a request may have acted; any other error says that nothing was made.
    """
    intent, lost = entry.intent, None
    tags = {
        key: value
        for key, value in (
            (RUN_TAG, entry.run),
            (USER_TAG, intent.user),
            (KIND_TAG, intent.method.name),
            (HARDWARE_TAG, intent.hardware),
            (CARD_TAG, intent.card),
            (STAGED_TAG, "yes" if intent.staged else None),
            *intent.tags,
        )
        if value and TAG_VALUE.fullmatch(value)
    }
    for attempt in range(CREATE_TRIES):
        try:
            return desk.registrar.create(intent, tags)
        except Unclear as error:
            lost = error
            desk.progress.note(f"{error}; looking whether {intent.serial} was created")
            desk.sleep(attempt + 1)
        except (AwsFault, Throttled) as refused:
            taken = isinstance(refused, AlreadyExists)
            if isinstance(refused, AccessDenied) and tags:
                tags = {}  # tags are a second permission, which lean policies leave out
            elif lost is None and taken:
                raise _taken(intent, desk=desk) from None
            elif lost is None:
                raise
            elif not (taken and _name_is_free_again(entry, desk=desk)):
                raise lost from None
    raise lost or AwsFault(f"IAM did not create {intent.serial}", "try again")


def _taken(intent: Intent, *, desk: Desk) -> AlreadyExists:
    """Say that a name is taken, and by whom where it is another process of this desk: nobody is to delete that one."""
    run = desk.inventory.run_of(intent.serial)
    made = desk.journal.find(intent.serial, run=run) if isinstance(run, str) else None
    if made and made.is_half_made and desk.journal.lives(made.run):
        return AlreadyExists(
            f"an MFA device named {intent.name} exists already: another process of this desk is making it now",
            f"let it come to its end, then see what there is: mfa-kit status {made.intent.user}",
        )
    return AlreadyExists(
        f"an MFA device named {intent.name} exists already and is not {intent.user}'s",
        "choose another --name, or see whose it is: mfa-kit orphans list; "
        f"when nobody uses it: {delete_command(intent.serial)}",
    )


def _name_is_free_again(entry: Entry, *, desk: Desk) -> bool:
    """Delete the device of this very run whose seed was lost; whether the name can be used once more."""
    serial = entry.intent.serial
    try:
        if desk.inventory.run_of(serial) != entry.run:
            return False
        desk.registrar.delete(serial)
    except NoSuchEntity:  # somebody else deleted it
        return True
    except MfaKitError as error:
        desk.progress.note(f"{serial} is ours and cannot be deleted: {error}")
        return False
    return True


def _stands_when_settled(entry: Entry, carrier: Carrier, error: BaseException, *, desk: Desk) -> Entry | None:
    """Settle after an error; return the entry where the device stands all the same.

    What cannot be settled is a note on that error.
    """
    try:
        # Else nothing is seen of a Ctrl-C while IAM is slow, and one asks once more. A worker's is that second one.
        if isinstance(error, KeyboardInterrupt) and threading.current_thread() is threading.main_thread():
            desk.progress.note(f"ending: {entry.intent.serial} is settled with IAM first; Ctrl-C breaks that off")
        if settle(entry, carrier, desk=desk) is Reached.CONFIRMED:
            return entry
    except Unlisted:
        return replace(entry, looked_for=True)
    except BaseException as second:  # noqa: BLE001 - a second Ctrl-C too must not hide the first error
        hint = getattr(second, "hint", "") or "the same command goes on from here"
        match second:
            case MfaKitError():
                why = str(second)
            case KeyboardInterrupt():
                why = "it was interrupted too"
            case _:
                why = type(second).__name__
        error.add_note(f"{entry.intent.serial} is not settled yet: {why}; {hint}")
        return None
    desk.progress.note(f"nothing is left of {entry.intent.serial}")
    return None


class BackupAlone:
    """Nobody holds the seed but the sealed backup; the codes are computed here, for AWS's time."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._seeds: dict[str, Seed] = {}

    def check(self, intent: Intent, *, sealed: bool) -> Intent:
        if not sealed:
            raise UsageFault(
                f"generated codes without a backup would leave the seed of {intent.name} nowhere",
                "say who can open the backup: -r age1…, -R FILE or --passphrase",
            )
        return intent

    def install(self, intent: Intent, created: Created) -> None:
        self._seeds[intent.serial] = created.seed

    def codes(self, intent: Intent) -> Pair:
        return otp.pair(self._seeds[intent.serial], self._now())

    def remove(self, entry: Entry) -> None:
        self._seeds.pop(entry.intent.serial, None)

"""Takes the snapshot of an account: asks for each part once, and names what could not be read. Reads only."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

from mfa_kit.account.snapshot import ROOTLESS, Backup, Credentials, Details, Hole, Part, Person, Snapshot, people
from mfa_kit.account.source import Account
from mfa_kit.core.errors import MfaKitError, NoSuchEntity
from mfa_kit.core.models import Caller, Device, DeviceType
from mfa_kit.enrollment.ports import Inventory

T = TypeVar("T")
# Maps a function over many, as `map` does or with several at once.
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterable[Any]]


class _Asked:
    """Reads parts, and keeps what could not be read."""

    def __init__(self) -> None:
        self.holes: list[Hole] = []

    def one(self, part: Part, read: Callable[[], T], *, about: str | None = None) -> T | None:
        try:
            return read()
        except MfaKitError as error:
            self.holes.append(Hole(part, str(error), about))
            return None

    def rows(self, part: Part, pages: Iterable[T]) -> Iterator[T]:
        """Yield what can be read: the pages before the one that fails."""
        try:
            yield from pages
        except MfaKitError as error:
            self.holes.append(Hole(part, str(error)))


def survey(
    inventory: Inventory,
    account: Account,
    *,
    caller: Caller,
    max_age: float,
    backups: Callable[[tuple[Device, ...]], tuple[Backup, ...]],
    each: Each = map,
    passwords_of: Callable[[Person], bool] = lambda _: False,
    afresh: Callable[[Person], bool] = lambda _: False,
) -> Snapshot:
    """Read the account.

    `max_age` is how many seconds old the credential report may be; IAM keeps one for four hours, so of users made since
    then password and keys are asked for. Of the users for whom `passwords_of` holds it is
    asked whether they have to choose a new password. MFA devices are listed for those users only whose kinds nothing
    else tells. Of those for whom `afresh` holds passwords, keys and devices are asked for, whatever the report says.
    """
    asked = _Asked()
    report = asked.one(Part.REPORT, lambda: account.report(max_age=max_age))
    summary = asked.one(Part.SUMMARY, account.summary)
    pages = list(asked.rows(Part.DETAILS, account.details()))
    whole = _joined(pages)
    virtual = tuple(asked.rows(Part.VIRTUAL, account.virtual()))
    passwords = asked.one(Part.PASSWORDS, account.password_policy)
    root = None
    if caller.arn.endswith(":root") and caller.partition not in ROOTLESS:
        root = asked.one(Part.ROOT, account.own_devices)
    backed = asked.one(Part.BACKUPS, lambda: backups(virtual))

    def taken(**more: Any) -> Snapshot:
        return Snapshot(
            at=inventory.now(),
            account=caller.account,
            caller=caller.arn,
            holes=tuple(asked.holes),
            report=report,
            summary=summary or {},
            users=whole.users,
            groups=whole.groups,
            roles=whole.roles,
            policies=whole.policies,
            virtual=virtual,
            passwords=passwords,
            root_devices=tuple(root) if root is not None else None,
            backups=backed or (),
            **more,
        )

    known = people(taken())
    if report is not None:
        doubtful = [one for one in known if one.credentials is None or afresh(one)]
        report = replace(report, users={**report.users, **_anew(doubtful, account, asked=asked, each=each)})
        known = people(taken())
    listed = _listed([one.name for one in known if _untold(one) or afresh(one)], inventory, asked=asked, each=each)
    known = people(taken(listed=listed))
    keys = [device for one in known if one.admin for device in one.devices if device.type is DeviceType.FIDO2]
    return taken(
        listed=listed,
        certified={
            key.serial: said
            for key in keys
            if (said := asked.one(Part.KEYS, partial(account.certifications, key), about=key.user)) is not None
        },
        must_change={
            name: told
            for name in [one.name for one in known if passwords_of(one)]
            if (told := asked.one(Part.PROFILES, partial(account.must_change, name), about=name)) is not None
        },
    )


def _untold(one: Person) -> bool:
    """Whether a user's devices have to be listed: the list of virtual ones has none of his, or he is an administrator.

    An administrator is to have more than one, and one that withstands phishing: that the virtual ones do not tell.
    """
    if one.complete:
        return False
    return not one.devices or one.admin is not False


def _anew(doubtful: list[Person], account: Account, *, asked: _Asked, each: Each) -> dict[str, Credentials]:
    """Ask for the passwords and keys of users; who is gone meanwhile has none."""

    def look(one: Person) -> Credentials | MfaKitError:
        try:
            return account.credentials(one.user)
        except NoSuchEntity:
            return Credentials(arn=one.user.arn, created=one.user.created or 0.0, password=False)
        except MfaKitError as error:
            return error

    found: dict[str, Credentials] = {}
    for one, told in zip(doubtful, each(look, doubtful), strict=True):
        if isinstance(told, MfaKitError):
            when = "since the report" if one.credentials else "made since the report"
            asked.holes.append(Hole(Part.REPORT, f"{when}: {told}", one.name))
        else:
            found[one.name] = _brought_up(one.credentials, told)
    return found


def _brought_up(report: Credentials | None, now: Credentials) -> Credentials:
    """Keep of the report what was used when; where there are more keys than then, or fewer, they are others."""
    if report is None:
        return now
    same = len(report.keys) == len(now.keys)
    keys = [replace(then, active=key.active) for then, key in zip(report.keys, now.keys, strict=True)] if same else []
    if now.password and not report.password:
        report = replace(report, password_used=None, password_changed=now.password_changed, password_expires=None)
    return replace(report, password=now.password, keys=tuple(keys) if same else now.keys)


def _joined(pages: Iterable[Details]) -> Details:
    return Details(
        users=tuple(each for page in pages for each in page.users),
        groups=tuple(each for page in pages for each in page.groups),
        roles=tuple(each for page in pages for each in page.roles),
        policies={arn: text for page in pages for arn, text in page.policies.items()},
    )


def _listed(names: list[str], inventory: Inventory, *, asked: _Asked, each: Each) -> dict[str, tuple[Device, ...]]:
    """List the devices of users, several at once; who is gone meanwhile has none."""

    def look(name: str) -> tuple[Device, ...] | MfaKitError:
        try:
            return tuple(inventory.devices(name))
        except NoSuchEntity:
            return ()
        except MfaKitError as error:
            return error

    found: dict[str, tuple[Device, ...]] = {}
    for name, devices in zip(names, each(look, names), strict=True):
        if isinstance(devices, MfaKitError):
            asked.holes.append(Hole(Part.DEVICES, str(devices), name))
        else:
            found[name] = devices
    return found

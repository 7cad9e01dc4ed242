"""Takes the snapshot of an account: reads its parts, and lists the parts that could not be read.

Nothing in the account is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Protocol, TypeVar

from mfa_kit.account.evaluator import Decision, RequestContext, flaws_of, lets_people_in
from mfa_kit.account.snapshot import (
    AccountPasswordPolicy,
    AccountUsage,
    CentralRootAccess,
    ControlLevel,
    CredentialReport,
    Credentials,
    Details,
    DeviceBackup,
    Entity,
    RootPosture,
    ServerCertificate,
    Snapshot,
    SnapshotPart,
    UnreadPart,
)
from mfa_kit.account.users import AccountUser, account_users
from mfa_kit.core.errors import AccessDenied, MfaKitError, NoSuchEntity, Outdated
from mfa_kit.core.firmware import DeviceRecall
from mfa_kit.core.models import ROOTLESS, Caller, Device, DeviceType, devices_by_user, is_root
from mfa_kit.core.recovery_keys import RecoveryKeyUse
from mfa_kit.enrollment.planning import devices_while_there
from mfa_kit.enrollment.ports import IamReader

# The order of the parts in a list of what could not be read.
PARTS = tuple(SnapshotPart)


class AccountSource(Protocol):
    """Reads the parts of an account's snapshot. Nothing in the account is changed.

    Each method may raise MfaKitError. An iterator raises the error when it reaches a page that cannot be read.
    """

    def report(self, *, max_age: float) -> CredentialReport:
        """Return the credential report. If it is missing or older than `max_age` seconds, request a new report.

        Raise Outdated if there is only an older report.
        """
        ...

    def credentials(self, user: Entity) -> Credentials:
        """Return the current state of a user's password and access keys, without the times of last use.

        Raise NoSuchEntity if the user does not exist.
        """
        ...

    def summary(self) -> Mapping[str, int]:
        """Return the account summary (iam:GetAccountSummary): numbers by name, such as `AccountMFAEnabled`."""
        ...

    def details(self) -> Iterator[Details]:
        """Yield users, groups, roles and their policies, page by page."""
        ...

    def virtual(self) -> Iterator[Device]:
        """Yield every virtual device. `user` is None for an unassigned device, REPORTED_ROOT for a device of root."""
        ...

    def own_devices(self) -> list[Device]:
        """Return the caller's own devices, with REPORTED_ROOT as their user. The caller must be root."""
        ...

    def certifications(self, key: Device) -> tuple[str, ...]:
        """Return the certifications of a security key, such as `FIDO L1`."""
        ...

    def password_policy(self) -> AccountPasswordPolicy:
        """Return the password policy, or IAM's default if the account has none."""
        ...

    def certificates(self) -> Iterator[ServerCertificate]:
        """Yield the server certificates that IAM stores."""
        ...

    def sign_in_session(self, entity: Entity) -> int | None:
        """Return the maximum duration of the sign-in sessions of a user or role in seconds, or 0 if none is set.

        Return None for a user without a password.
        """
        ...

    def must_change(self, user: str) -> bool:
        """Return whether a user has to choose a new password at the next sign-in."""
        ...

    def simulated(
        self, documents: Sequence[str], actions: Sequence[str], context: RequestContext
    ) -> dict[str, Decision]:
        """Return the decision of iam:SimulateCustomPolicy on each action. Raise AccessDenied or AwsFault on failure."""
        ...


S = TypeVar("S")
T = TypeVar("T")


class MapEach(Protocol):
    """A function like `map` that may process several items at the same time."""

    def __call__(self, function: Callable[[S], T], items: Iterable[S], /) -> Iterable[T]:
        """Yield the result for each item, in the order of the items."""
        ...


class _Reading:
    """Reads parts of an account, and records a `UnreadPart` for each part that could not be read."""

    def __init__(self, iam_reader: IamReader, account: AccountSource, map_each: MapEach) -> None:
        self.holes: list[UnreadPart] = []
        self._inventory, self._account, self._map_each = iam_reader, account, map_each

    def part(self, part: SnapshotPart, read: Callable[[], T] | None, *, about: str | None = None) -> T | None:
        """Return the result of `read`, or None without it. If it raises MfaKitError, also record a `UnreadPart`.

        `about` is the user whom the part concerns; None means the whole account.
        """
        try:
            return read() if read else None
        except MfaKitError as error:
            self.holes.append(UnreadPart(part, str(error), about))
            return None

    def pages(self, part: SnapshotPart, pages: Iterable[T]) -> Iterator[T]:
        """Yield the pages. If a page cannot be read, record a `UnreadPart` and yield no further page."""
        try:
            yield from pages
        except MfaKitError as error:
            self.holes.append(UnreadPart(part, str(error)))

    def of_each(
        self, items: Sequence[S], read: Callable[[S], T], hole: Callable[[S, MfaKitError], UnreadPart]
    ) -> Iterator[tuple[S, T]]:
        """Yield each item with its result from `read`, which may be called for several items at the same time.

        If `read` fails for an item, skip the item, and record the `UnreadPart` that `hole` returns for it.
        """

        def attempt(item: S) -> T | MfaKitError:
            try:
                return read(item)
            except MfaKitError as error:
                return error

        for item, result in zip(items, self._map_each(attempt, items), strict=True):
            if isinstance(result, MfaKitError):
                self.holes.append(hole(item, result))
            else:
                yield item, result

    def whole(
        self,
        caller: Caller,
        *,
        max_age: float,
        backups: Callable[[tuple[Device, ...]], tuple[DeviceBackup, ...]],
        central_root: Callable[[], CentralRootAccess] | None,
        member_root: Callable[[], RootPosture | None] | None,
        break_glass: Callable[[], tuple[RecoveryKeyUse, ...]] | None,
    ) -> Snapshot:
        """Return a snapshot with the parts that are read for the whole account, but without those read for each user.

        The arguments are those of `read_account`.
        """
        account = self._account
        # First the report alone, so that a user whom only the report lacks was created after it.
        report = self.part(SnapshotPart.REPORT, lambda: account.report(max_age=max_age))
        reads: tuple[Callable[[], Any], ...] = (
            lambda: self.part(SnapshotPart.SUMMARY, account.summary) or {},
            lambda: join_details(list(self.pages(SnapshotPart.DETAILS, account.details()))),
            lambda: tuple(self.pages(SnapshotPart.VIRTUAL, account.virtual())),
            lambda: self.part(SnapshotPart.PASSWORDS, account.password_policy),
        )
        summary, details, virtual, passwords = self._map_each(lambda read: read(), reads)
        self.holes.sort(key=lambda each: PARTS.index(each.part))
        root_devices = self._root_devices(caller)
        central = None
        if central_root is not None and caller.partition not in ROOTLESS:
            central = self.part(SnapshotPart.CENTRAL_ROOT, central_root)
        if summary.get("ServerCertificates") == 0:  # most accounts have no certificates, so this saves a request
            certificates: tuple[ServerCertificate, ...] | None = ()
        else:
            certificates = self.part(SnapshotPart.CERTIFICATES, lambda: tuple(account.certificates()))
        snapshot = Snapshot(
            at=self._inventory.now(),
            account=caller.account,
            lab=caller.lab,
            caller=caller.arn,
            report=report,
            summary=summary,
            users=details.users,
            groups=details.groups,
            roles=details.roles,
            policies=details.policies,
            other_versions=details.other_versions,
            virtual=virtual,
            passwords=passwords,
            certificates=certificates,
            root_devices=root_devices,
            backups=self.part(SnapshotPart.BACKUPS, lambda: backups(virtual)) or (),
            break_glass=self.part(SnapshotPart.BREAK_GLASS, break_glass),
            central_root=central,
            holes=tuple(self.holes),
        )
        return self._with_member_root(snapshot, member_root) if member_root else snapshot

    def control(self, read: Callable[[], tuple[ControlLevel, ...]] | None) -> tuple[ControlLevel, ...] | None:
        """Return the levels of service control policies, or None if they are not read or cannot be read."""
        levels = self.part(SnapshotPart.CONTROL, read)
        policies = {policy.id: policy for level in levels or () for policy in level.policies if policy.text is None}
        self.holes += [UnreadPart(SnapshotPart.CONTROL, policy.why, policy.id) for policy in policies.values()]
        return levels

    def _root_devices(self, caller: Caller) -> tuple[Device, ...] | None:
        """Return the devices of root if the caller is root, because only root can list them.

        Return None for any other caller, in a partition without root users, and if the devices could not be read.
        """
        if not is_root(caller.arn) or caller.partition in ROOTLESS:
            return None
        devices = self.part(SnapshotPart.ROOT, self._account.own_devices)
        return None if devices is None else tuple(devices)

    def _with_member_root(self, snapshot: Snapshot, member_root: Callable[[], RootPosture | None]) -> Snapshot:
        """Return the snapshot with the facts about root from `member_root` added.

        `member_root` is called only if these facts could change the verdict on root. If it is not called, or returns
        None, the snapshot is returned unchanged.
        """
        if not snapshot.root.needs_session:
            return snapshot
        member = member_root()
        if member is None:
            return snapshot
        if member.unread:
            self.holes.append(UnreadPart(SnapshotPart.ROOT_CREDENTIALS, "; ".join(member.unread)))
        return replace(snapshot, member_root=member)

    def credentials(self, users: Sequence[AccountUser]) -> dict[str, Credentials]:
        """Return the credentials of users by user name, with the current state of password and access keys.

        A user who was deleted in the meantime has no password and no keys. Users whose credentials could not be read
        are left out.
        """

        def read(user: AccountUser) -> Credentials:
            try:
                return self._account.credentials(user.user)
            except NoSuchEntity:
                return Credentials(arn=user.user.arn, created=user.user.created or 0.0, password=False)

        def hole(user: AccountUser, error: MfaKitError) -> UnreadPart:
            when = "changes since the credential report" if user.credentials else "created after the credential report"
            return UnreadPart(SnapshotPart.REPORT, f"{when}: {error}", user.name)

        return {user.name: _updated(user.credentials, now) for user, now in self.of_each(users, read, hole)}

    def update_report(
        self, snapshot: Snapshot, afresh: Callable[[AccountUser], bool]
    ) -> tuple[Snapshot, frozenset[str]]:
        """Read the current credentials of the users whom the report lacks, or whom `afresh` selects.

        Return the snapshot with these credentials in its report, and the names of the users whom the report lacked. If
        there is no report, read nothing, and return the snapshot unchanged and no names.
        """
        if snapshot.report is None:
            return snapshot, frozenset()
        users = account_users(snapshot)
        newer = frozenset(user.name for user in users if user.credentials is None)
        doubtful = [user for user in users if user.name in newer or afresh(user)]
        rows = {**snapshot.report.users, **self.credentials(doubtful)}
        return replace(snapshot, report=replace(snapshot.report, users=rows)), newer

    def devices(self, names: Sequence[str]) -> dict[str, tuple[Device, ...]]:
        """Return the devices of the users with these names, by user name.

        A user who was deleted in the meantime has no device. Users whose devices could not be read are left out.
        """

        def read(name: str) -> tuple[Device, ...]:
            try:
                return tuple(self._inventory.devices(name))
            except NoSuchEntity:
                return ()

        return dict(self.of_each(names, read, lambda name, error: UnreadPart(SnapshotPart.DEVICES, str(error), name)))

    def certifications(self, keys: Iterable[Device]) -> Mapping[str, tuple[str, ...]]:
        """Return the certifications of security keys, such as `FIDO L1`, by serial.

        Keys whose certifications could not be read are left out.
        """
        read = {
            key.serial: self.part(SnapshotPart.KEYS, partial(self._account.certifications, key), about=key.user)
            for key in keys
        }
        return {serial: certifications for serial, certifications in read.items() if certifications is not None}

    def sessions(self, people: Mapping[str, Entity]) -> Mapping[str, int]:
        """Return the longest allowed sign-in session in seconds of users and roles, by their key; 0 if no limit is set.

        Users without a password, and users and roles for whom this could not be read, are left out.
        """
        read = self.of_each(
            [*people],
            lambda key: self._account.sign_in_session(people[key]),
            lambda key, error: UnreadPart(SnapshotPart.SESSIONS, str(error), key),
        )
        return {key: seconds for key, seconds in read if seconds is not None}

    def must_change(self, names: Iterable[str]) -> Mapping[str, bool]:
        """Return, by user name, whether each user has to choose a new password at the next sign-in.

        Users for whom this could not be read are left out.
        """
        read = {
            name: self.part(SnapshotPart.PROFILES, partial(self._account.must_change, name), about=name)
            for name in names
        }
        return {name: must_change for name, must_change in read.items() if must_change is not None}


def read_account(
    iam_reader: IamReader,
    account: AccountSource,
    *,
    caller: Caller,
    max_age: float,
    backups: Callable[[tuple[Device, ...]], tuple[DeviceBackup, ...]],
    map_each: MapEach = map,
    passwords_of: Callable[[AccountUser], bool] = lambda _: False,
    sessions: bool = False,
    afresh: Callable[[AccountUser], bool] = lambda _: False,
    central_root: Callable[[], CentralRootAccess] | None = None,
    member_root: Callable[[], RootPosture | None] | None = None,
    break_glass: Callable[[], tuple[RecoveryKeyUse, ...]] | None = None,
    usage: Callable[[], AccountUsage] | None = None,
    recalls: Callable[[], tuple[DeviceRecall, ...]] | None = None,
    control: Callable[[], tuple[ControlLevel, ...]] | None = None,
) -> Snapshot:
    """Take a snapshot of the account. A part that cannot be read becomes a `UnreadPart` in the snapshot.

    `max_age` is the maximum age of the credential report in seconds. IAM makes at most one report in four hours, so the
    password, keys and devices of users who were created after the report are read separately. `backups` returns the
    backups of virtual devices. `map_each` is used like `map` to read users.

    For the users that `passwords_of` selects, the snapshot also says whether they have to choose a new password, and
    with `sessions`, how long a sign-in session of a console user, or of a role for people, may last. For the users that
    `afresh` selects, password, keys and devices are read even if the report has them. For any other user, devices are
    listed only if the credential report and the list of virtual devices do not show enough about the user's devices.

    `central_root` reads the state of centralized root access in the account's organization. `member_root` reads the
    facts about root that the organization's administrator can see. It is called only if these facts could change the
    verdict on root. `break_glass` returns the break-glass identities in the ledger, `usage` when devices were last
    used, and `recalls` the devices on recorded keys. `control` returns the levels of service control policies.
    """
    reading = _Reading(iam_reader, account, map_each)
    snapshot = reading.whole(
        caller,
        max_age=max_age,
        backups=backups,
        central_root=central_root,
        member_root=member_root,
        break_glass=break_glass,
    )
    snapshot = replace(snapshot, control=reading.control(control))
    snapshot, newer = reading.update_report(snapshot, afresh)

    def must_list(user: AccountUser) -> bool:
        return _has_unknown_devices(user) or afresh(user) or (user.name in newer and not user.devices)

    unlisted = [user.name for user in account_users(snapshot) if must_list(user)]
    snapshot = replace(snapshot, listed=reading.devices(unlisted))
    users = account_users(snapshot)
    keys = [device for user in users if user.admin for device in user.devices if device.type is DeviceType.FIDO2]
    return replace(
        snapshot,
        certified=reading.certifications(keys),
        must_change=reading.must_change([user.name for user in users if passwords_of(user)]),
        sessions=reading.sessions(_sign_in_entities(users, snapshot.roles)) if sessions else {},
        usage=reading.part(SnapshotPart.USAGE, usage),
        recalls=reading.part(SnapshotPart.RECORDED_KEYS, recalls),
        at=iam_reader.now(),
        holes=(*reading.holes, *policy_holes(snapshot)),
    )


def _sign_in_entities(users: Iterable[AccountUser], roles: Iterable[Entity]) -> dict[str, Entity]:
    """Return the users with a password by their name, and the roles that people can assume by their ARN."""
    people = {user.name: user.user for user in users if user.password}
    return people | {role.arn: role for role in roles if lets_people_in(role)}


def policy_holes(snapshot: Snapshot) -> tuple[UnreadPart, ...]:
    """Return an UnreadPart for each policy whose text is not an IAM policy and that somebody has."""
    entities = (*snapshot.users, *snapshot.groups, *snapshot.roles)
    flaws = (flaw for entity in entities for flaw in flaws_of(entity, snapshot.policies))
    return tuple(UnreadPart(SnapshotPart.POLICIES, flaw) for flaw in dict.fromkeys(flaws))


def _has_unknown_devices(user: AccountUser) -> bool:
    """Return whether a user's devices have to be listed, to know enough about them.

    If not all devices are known, they have to be listed for two kinds of users: those without a known device, and those
    who are (or may be) administrators. An administrator should have at least two devices, one of them resistant to
    phishing, and the list of virtual devices cannot show whether this is so.
    """
    if user.complete:
        return False
    return not user.devices or user.admin is not False


def _updated(report: Credentials | None, now: Credentials) -> Credentials:
    """Return a user's row of the report, updated with the current state of password and keys (`now`).

    The current state has no last-used dates, so these are taken from the report. If the number of access keys changed,
    the dates of the keys are dropped, because they may belong to other keys.
    """
    if report is None:
        return now
    same = len(report.keys) == len(now.keys)
    keys = [replace(then, active=key.active) for then, key in zip(report.keys, now.keys, strict=True)] if same else []
    if now.password and not report.password:
        report = replace(report, password_used=None, password_changed=now.password_changed, password_expires=None)
    return replace(report, password=now.password, keys=tuple(keys) if same else now.keys)


def join_details(pages: Sequence[Details]) -> Details:
    """Return all pages of an account's details together."""
    return Details(
        users=tuple(chain.from_iterable(page.users for page in pages)),
        groups=tuple(chain.from_iterable(page.groups for page in pages)),
        roles=tuple(chain.from_iterable(page.roles for page in pages)),
        policies={arn: text for page in pages for arn, text in page.policies.items()},
        other_versions={arn: texts for page in pages for arn, texts in page.other_versions.items()},
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDevices:
    """The devices of users, by user name.

    `report` is the credential report that showed which users have no device. If AWS denied access to the report,
    or has only an older one, `report` is None, and IAM was asked about each user without a virtual device. `denied` has
    the error messages for the list of virtual devices and the report, if they could not be used.
    """

    devices: Mapping[str, Sequence[Device]]
    report: CredentialReport | None
    denied: tuple[str, ...] = ()


def read_user_devices(
    iam_reader: IamReader, account: AccountSource, names: Sequence[str], *, max_age: float, map_each: MapEach
) -> UserDevices:
    """Return the devices of the users with these names.

    The result keeps the order of `names`. Users whom IAM no longer finds are left out. For a user with a virtual
    device, the result has only virtual devices, because IAM's list of virtual devices shows no others and no further
    request is made. `max_age` is the maximum age of the credential report in seconds, and `map_each` is used like
    `map`. If AWS denies access to the list of virtual devices or to the report, or the report is older, IAM is asked
    about more users, with one request per user.
    """
    denied: list[str] = []
    virtual: Mapping[str, Sequence[Device]] = {}
    try:
        virtual = devices_by_user(account.virtual())
    except AccessDenied as error:
        denied.append(str(error))
    report = None
    try:
        report = account.report(max_age=max_age)
    except (AccessDenied, Outdated) as error:
        denied.append(str(error))
    asked = [name for name in names if name not in virtual and _may_have_device(name, report)]
    listed = dict(
        zip(asked, map_each(lambda name: devices_while_there(name, iam_reader=iam_reader), asked), strict=True)
    )
    devices_of = {name: listed.get(name, virtual.get(name, ())) for name in names}
    return UserDevices(
        devices={
            name: [replace(device, user=name) for device in devices]
            for name, devices in devices_of.items()
            if devices is not None
        },
        report=report,
        denied=tuple(denied),
    )


def _may_have_device(name: str, report: CredentialReport | None) -> bool:
    """Return whether a user without a virtual device may have another device, as far as the credential report shows."""
    row = report.users.get(name) if report else None
    return row is None or row.mfa is not False

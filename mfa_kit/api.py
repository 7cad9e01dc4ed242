"""The API of mfa-kit for Python: the commands `status`, `enroll`, `replace`, `revoke`, `rollout` and others as methods.

Only the names in `__all__` are public. Everything else in the package is private, and can change in any release.
docs/development.md says what a release may change here, and docs/rollout-script.md shows how to use it.

An `MfaKit` reads the configuration file, as the commands do, but no environment variable of mfa-kit except
MFA_KIT_HOME. boto3 reads its own variables. No method prints, asks at the terminal, installs a signal handler or ends
the process. No method returns or accepts a secret: secrets are only in encrypted backups, whose paths are returned.

Threads may share an MfaKit, and several can be open at the same time: each call opens the ledger and the keys for
itself, and an open MfaKit keeps only AWS credentials. Two calls must not use the same key at the same time. The methods
of your Interaction, and `progress`, are called in the thread of the call or in a thread of `apply`.

The first `with` statement changes the process in three ways, so that no secret leaks: it writes no core file, other
processes of the user cannot read its memory, and botocore does not log request bodies. While an MfaKit is open, no
response that botocore reads in this process may be longer than 32 MiB or take more than two minutes.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, fields, is_dataclass, replace
from functools import partial, wraps
from inspect import Parameter, isfunction, signature
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Any,
    Concatenate,
    NoReturn,
    ParamSpec,
    Protocol,
    Self,
    TypeAlias,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)
from warnings import warn
from weakref import WeakSet

from mfa_kit import wiring
from mfa_kit.account.status import DeviceCells
from mfa_kit.audit.finding import Limits, Severity
from mfa_kit.audit.records import (
    AuditReport,
    ReportedAcceptance,
    ReportedFinding,
    ReportedUnknown,
    ReportedUnread,
    RuleReport,
    audit_report,
)
from mfa_kit.audit.registry import ALL_RULES, AuditOptions, audit_account, choose_rules
from mfa_kit.backups.opening import BackupCheck
from mfa_kit.core import interaction as inside
from mfa_kit.core.errors import (
    AwsFault,
    Declined,
    DeviceFault,
    IntegrityFault,
    InternalError,
    Lockout,
    MfaKitError,
    Throttled,
    UsageFault,
    only_our_errors,
)
from mfa_kit.core.file_formats import error_of_faults
from mfa_kit.core.message import UserAction, action_of
from mfa_kit.core.models import BackupLocation, JournalState, RunKind, parse_location
from mfa_kit.core.otp import Secret
from mfa_kit.core.recorded_keys import KeysOfDevices
from mfa_kit.core.stopping import Stop, sleep
from mfa_kit.enrollment import enroll, revoke
from mfa_kit.enrollment.enroll import EnrolledUser, SkippedUser
from mfa_kit.enrollment.planning import EnrollRequest, resolve_user
from mfa_kit.policy.lint import find_traps
from mfa_kit.policy.lockout import (
    UNCHANGED,
    AccessAfterPolicy,
    access_with,
    after_policy,
    may_have_to_change,
    unread_users,
)
from mfa_kit.policy.texts import force_mfa
from mfa_kit.rollout.apply import PlanRun, check_backup_folder, check_copies
from mfa_kit.rollout.execution import Execution, RowResult, UserResult, user_result
from mfa_kit.rollout.plan import WORKERS, DeviceChange, check_account, device_changes
from mfa_kit.rollout.plan_files import plan_digest, plan_text
from mfa_kit.rollout.plan_making import PlanOptions, plan_summary
from mfa_kit.rollout.roster import UserSelection
from mfa_kit.wiring.methods.method import EnrollmentMethod, Options
from mfa_kit.wiring.methods.oath import OathOptions
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.methods.virtual import Codes, VirtualOptions
from mfa_kit.wiring.settings import Settings

__all__ = ["AwsFault", "Declined", "DeviceFault", "IntegrityFault", "InternalError", "Lockout", "MfaKitError"]
__all__ += ["Interaction", "MfaKit", "OathKey", "Throttled", "UsageFault", "Virtual"]
__all__ += ["AccessAfterPolicy", "AuditReport", "BackupCheck", "DeviceChange", "EnrolledUser", "PlanSummary"]
__all__ += ["ReplacedDevice", "ReportedAcceptance", "ReportedFinding", "ReportedUnknown", "ReportedUnread"]
__all__ += ["RevokedDevice", "RuleReport", "SkippedUser", "UserDevice", "UserResult"]


def __getattr__(name: str) -> object:
    """Return ReportedUnread for its old name, which exists for one release more (PEP 562)."""
    if name == "ReportedHole":
        warn("ReportedHole is now ReportedUnread", DeprecationWarning, stacklevel=2)
        return ReportedUnread
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


P = ParamSpec("P")
T = TypeVar("T")
Place: TypeAlias = str | Path
# The ages of the commands' options --max-age and --drilled-within, in seconds.
REPORT_AGE, DRILLED_WITHIN = 4 * 3600.0, 90 * 86400.0
# What a parameter for a number accepts.
NUMBERS = {float: int | float}
# The limit of the command's option --workers.
MAX_WORKERS = 64

# The results. Their fields are those of the schemas in docs/formats.md, which says what they mean. Times are ISO 8601,
# in UTC.


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplacedDevice:
    """A new device in place of an old one, in the schema mfa-kit/replace. `outcome` is `replaced`.

    `end_sessions` has commands if the old device was lost.
    """

    outcome: str
    user: str
    device: str
    kind: str
    revoked: str | None
    backup: str | None
    run: str
    listed: bool
    end_sessions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RevokedDevice:
    """A removed device, in the schema mfa-kit/revoke. `outcome` is `revoked`.

    `end_sessions` has commands if the device was lost.
    """

    outcome: str
    user: str
    device: str
    backup: str | None
    end_sessions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class UserDevice:
    """A device of a user, or a user without a device, in the schema mfa-kit/status.

    `computer` and `drilled_on` are None if the ledger is not shared.
    """

    user: str
    kind: str
    device: str | None
    since: str | None
    last_used: str | None
    last_used_at: str | None
    no_use_since: str | None
    use_from_files: bool | None
    uses_read: str | None
    made: str | None
    backup: str | None
    drilled: str | None
    drill_due: bool | None
    certifications: tuple[str, ...] | None
    key: str | None
    key_serial: str | None
    key_model: str | None
    key_firmware: str | None
    key_aaguid: str | None
    key_certifications: tuple[str, ...] | None
    key_certificate: str | None
    key_card: str | None
    key_label: str | None
    key_attested: tuple[str, ...] | None
    key_erased: bool | None
    computer: str | None = None
    drilled_on: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanSummary:
    """A plan for one account, in the schema mfa-kit/rollout-plan-summary. `plan` is the path of its file."""

    plan: str
    sha256: str
    account: str
    enroll: int
    bench: int
    self: int
    staged: int
    skip: int
    blocked: int
    no_own_copy: tuple[str, ...]
    no_admin_backup: str | None
    keys_changed: tuple[str, ...] | None
    report_age_s: int | None
    api_calls: int
    estimated_s: int
    users: tuple[DeviceChange, ...] = ()


class Interaction(Protocol):
    """Answers the questions of an MfaKit. To refuse a question, raise Declined. Nothing secret is passed to it.

    Any other exception of these methods, except KeyboardInterrupt, is reported as an InternalError.
    """

    def pin(self, prompt: str) -> str:
        """Return the PIN of a key, or the secret for which an age plugin asks: it is the PIN of the plugin's key."""
        ...

    def passphrase(self, prompt: str) -> str:
        """Return the passphrase of an identity, or the OATH password of a key."""
        ...

    def code(self, prompt: str) -> str:
        """Return the six digits that the caller's own MFA device shows, if the AWS profile needs a session with MFA."""
        ...

    def touch(self, prompt: str) -> None:
        """Tell the user to touch the key now. Return at once: the touch itself ends the wait."""
        ...

    def confirm(self, action: str, word: str) -> str:
        """Return `word` to confirm an action, such as the removal of a device. Any other answer refuses it."""
        ...


class _Answers(inside.Nobody):
    """Passes the questions that the API allows to an Interaction, and refuses all others."""

    def __init__(self, person: Interaction) -> None:
        super().__init__("a program cannot answer this")
        self._person = person

    def ask_code(self, prompt: str, *, instead: str, seconds_left: Callable[[], float] | None = None) -> str:
        """Return a code of the caller's own device."""
        return self._person.code(prompt)

    def ask_secret(self, prompt: str, *, instead: str) -> Secret[str]:
        """Return the PIN, passphrase or password for which the prompt asks."""
        for_pin = action_of(prompt) is UserAction.PIN  # never a word of the prompt: the names of readers have "PIN" too
        return Secret(self._person.pin(prompt) if for_pin else self._person.passphrase(prompt))

    def confirm(self, action: str, *, typed: str, instead: str = "--yes") -> None:
        """Raise Declined unless the answer is the word `typed`."""
        if self._person.confirm(action, typed) != typed:
            raise Declined(f"not confirmed: {action}", f"return the word {typed!r} from confirm")


@dataclass(frozen=True, slots=True)
class _Messages:
    """Passes messages to `show`, and the request to touch a key to the Interaction."""

    show: Callable[[str], None]
    person: Interaction | None

    def note(self, text: str) -> None:
        """Pass a message that is not part of the result."""
        self.alert(text)

    def alert(self, text: str) -> None:
        """Pass a message."""
        if self.person is not None and action_of(text) is UserAction.TOUCH:
            self.person.touch(str(text))
        else:
            self.show(str(text))

    def showing(self, _: str | Callable[[], str]) -> "nullcontext[None]":
        """Show nothing: there is no status line."""
        return nullcontext()


@dataclass(frozen=True, slots=True, kw_only=True)
class Virtual:
    """A virtual MFA device whose codes mfa-kit computes. Its encrypted backup is the only copy of the secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OathKey:
    """A virtual MFA device whose secret is on an OATH key that is plugged in.

    `key` is its serial or the name of its reader; None if it is the only key. With `touch`, each code needs a touch.
    `asset` is a name for the key, for a tag of the device. With `wait`, mfa-kit waits for the next code instead of
    computing the previous one.
    """

    key: str | None = None
    touch: bool = True
    asset: str | None = None
    wait: bool = False


VIRTUAL = Virtual()


def _closed_at_exit(
    method: Callable[Concatenate["MfaKit", P], Iterator[UserResult]],
) -> Callable[Concatenate["MfaKit", P], Iterator[UserResult]]:
    """Have an MfaKit close the generators of a method when it is closed itself."""

    @wraps(method)
    def register(kit: "MfaKit", /, *args: P.args, **options: P.kwargs) -> Iterator[UserResult]:
        generator = method(kit, *args, **options)
        kit._iterators.add(generator)  # noqa: SLF001 - a method of this class
        return generator

    return register


def _fits(value: object, kind: Any) -> bool:
    """Return whether a value has the type of a parameter. A text is no sequence, and a bool no number."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return any(_fits(value, argument) for argument in arguments)
    if origin is Sequence:
        return _is_sequence(value) and all(_fits(entry, arguments[0]) for entry in cast("Sequence[object]", value))
    if origin is Callable:
        return callable(value)
    if isinstance(value, bool):
        return kind is bool
    return kind is Interaction or isinstance(value, NUMBERS.get(kind, kind))


def _is_sequence(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str | bytes)


def _type_words(kind: Any) -> str:
    """Return the type of a parameter in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, UnionType}:
        return " or ".join(map(_type_words, arguments))
    if origin is Sequence:
        return f"a list of {_type_words(arguments[0]).removeprefix('a ').replace(' or a ', ' or ')}"
    if kind is NoneType:
        return "None"
    return "a function" if origin is Callable else f"{'an' if kind.__name__[0] in 'aeioOAEI' else 'a'} {kind.__name__}"


def _with_checked_arguments(kit: type[T]) -> type[T]:
    """Have the public methods of a class raise UsageFault for an argument of another type than its parameter."""
    for name, method in [*vars(kit).items()]:
        if isfunction(method) and (name == "__init__" or not name.startswith("_")):
            setattr(kit, name, _checked(method))
    return kit


def _checked(method: Callable[P, T]) -> Callable[P, T]:
    parameters = signature(method)

    @wraps(method)
    def check_first(*args: P.args, **options: P.kwargs) -> T:
        kinds = get_type_hints(method)
        for name, value in parameters.bind(*args, **options).arguments.items():
            values = value if parameters.parameters[name].kind is Parameter.VAR_POSITIONAL else (value,)
            if name in kinds and not all(_fits(entry, kinds[name]) for entry in values):
                raise UsageFault(f"the type of {name} is wrong", f"pass {_type_words(kinds[name])}")
        return method(*args, **options)

    return check_first


@_with_checked_arguments
class MfaKit:
    """The commands of mfa-kit in one AWS account. Use it in a `with` statement.

    `profile`, `region`, `endpoint`, `account`, `ledger`, `backup_dir` and `local_backups` are the options of the
    commands, with the defaults of the configuration file. `to` has the public keys that can decrypt all new backups;
    without it, those of the configuration file can. `interaction` answers questions; without it, each question raises
    Declined. `progress` is called with each message. Each method raises one of the errors of this module, and no other
    exception.
    """

    def __init__(
        self,
        *,
        profile: str | None = None,
        region: str | None = None,
        endpoint: str | None = None,
        account: str | None = None,
        ledger: str | None = None,
        to: Sequence[str] = (),
        backup_dir: Place | None = None,
        local_backups: bool = False,
        interaction: Interaction | None = None,
        progress: Callable[[str], None] | None = None,
    ) -> None:
        self._options = {"profile": profile, "region": region, "account": account, "ledger": ledger}
        self._to, self._folder, self._local_backups = to, backup_dir, local_backups
        self._endpoint, self._person, self._show = endpoint, interaction, progress
        self._settings: Settings | None = None
        self._stack = ExitStack()
        self._iterators: WeakSet[Any] = WeakSet()

    def __enter__(self) -> Self:
        """Read the configuration file. AWS is called by the methods only. Raise UsageFault if the file is invalid."""
        with only_our_errors():
            wiring.settings.load_boto3(freeze=False)
            config = wiring.settings.load_config()
            options: dict[str, Any] = {
                name: getattr(config, name) if option is None else option for name, option in self._options.items()
            }
            session = self._stack.enter_context(closing(wiring.aws.keep_session()))
            self._stack.callback(self._close_iterators)
            no_person = inside.Nobody("the program gave no Interaction")
            self._settings = Settings(
                interaction=no_person if self._person is None else _Answers(self._person),
                progress=_Messages(self._show or (lambda _: None), self._person),
                sleep=sleep,
                end=_Loss(Stop()).end,
                config=config,
                endpoint_url=self._endpoint,
                no_input=self._person is None,
                plain=True,
                opener=session.opener,
                **options,
            )
        return self

    def __exit__(self, *_: object) -> None:
        """Close the iterators of `apply`, and forget the credentials."""
        self._settings = None
        self._stack.close()

    def _close_iterators(self) -> None:
        for iterator in [*self._iterators]:
            with suppress(ValueError):  # another thread is in it, and goes on
                iterator.close()

    def status(
        self,
        user: str | None = None,
        *,
        each_user: bool = False,
        max_age: float = REPORT_AGE,
        drilled_within: float = DRILLED_WITHIN,
    ) -> tuple[UserDevice, ...]:
        """Return the devices of a user, or of all users. A user without a device has one entry of the kind `none`.

        `max_age` is that of the credential report, and `drilled_within` that of the last test of a backup, in seconds.
        """
        with self._call() as settings, wiring.organization.open_organization(settings, None) as organization:
            (account,) = organization.selection.chosen
            keys = KeysOfDevices.of(wiring.ledger.recorded_keys(organization.ledger))
            rows, _ = wiring.audit.list_devices(
                settings,
                organization,
                account,
                lambda uses: DeviceCells(account=account.id, uses=uses, keys=keys, unused=None, details=True),
                user=user,
                each_user=each_user,
                max_age=max_age,
                backup_dir=self._place,
                drilled_within=drilled_within,
            )
            return _plain(tuple(UserDevice(**cast("dict[str, Any]", row)) for row in rows))

    def enroll(
        self,
        user: str,
        method: Virtual | OathKey = VIRTUAL,
        *,
        name: str | None = None,
        path: str = "/",
        add: bool = False,
    ) -> EnrolledUser | SkippedUser:
        """Give a user a device. Skip a user with a device, unless `add` is true."""
        with self._device_work(user, method) as (work, options, chosen):
            request = EnrollRequest(user=work.user, method=chosen.method, name=name, path=path, add=add)
            backend = options.backend(work.context)
            return _plain(
                enroll.enroll_result(
                    enroll.enroll(
                        request,
                        backend,
                        caller=work.caller,
                        ports=work.ports,
                        run=wiring.ports.new_run_id(work.ports.iam_reader),
                        procedure=chosen.procedure,
                    )
                )
            )

    def replace(
        self,
        user: str,
        method: Virtual | OathKey = VIRTUAL,
        *,
        device: str | None = None,
        lost: bool = False,
        name: str | None = None,
        path: str = "/",
    ) -> ReplacedDevice:
        """Give a user a new device, and remove the old one. The Interaction confirms the removal.

        `device` names the old device if there are several. If it is lost, it is removed first.
        """
        with self._device_work(user, method) as (work, options, chosen):
            request = EnrollRequest(user=work.user, method=chosen.method, name=name, path=path)
            backend, ports = options.backend(work.context), work.ports
            run = wiring.ports.new_run_id(ports.iam_reader)
            spec, old = revoke.look_to_replace(
                request, backend, device_name=device, lost=lost, caller=work.caller, ports=ports, run=run
            )
            if old:
                when = revoke.WHEN_LOST if lost else revoke.WHEN_REPLACED
                revoke.confirm_removal(old, when=when, person=work.context.settings.interaction)
            done = revoke.replace_device(
                spec, old, backend, lost=lost, ports=ports, run=run, procedure=chosen.procedure
            )
            return ReplacedDevice(
                outcome="replaced",
                user=request.user,
                device=spec.serial,
                kind=spec.method.name,
                revoked=done.revoked.serial if done.revoked else None,
                backup=done.enrolled.backup,
                run=run,
                listed=done.enrolled.listed,
                end_sessions=done.end_sessions,
            )

    def revoke(
        self, user: str, *, device: str | None = None, lost: bool = False, leave_without_mfa: bool = False
    ) -> RevokedDevice:
        """Remove a device of a user. The Interaction confirms this.

        `device` names the device if there are several. The last device of a user is removed only with
        `leave_without_mfa`.
        """
        with self._call() as settings:
            store = wiring.stores.open_backup_store(settings, self._place)
            oath_keys = wiring.oath_keys.OathKeys(settings)
            with wiring.ports.open_ports(settings, store=store, oath_keys=oath_keys) as (ports, caller):
                entry = revoke.look_to_revoke(
                    resolve_user(user, caller=caller, iam_reader=ports.iam_reader),
                    device,
                    leave_without_mfa=leave_without_mfa,
                    caller=caller,
                    ports=ports,
                    run=wiring.ports.new_run_id(ports.iam_reader),
                    lost=lost,
                )
                if entry.reached is not JournalState.REVOKED:  # otherwise the device is already removed
                    revoke.confirm_removal(entry, when="permanently", person=settings.interaction)
                done = revoke.retire(entry, purpose=RunKind.LOST if lost else RunKind.REVOKE, ports=ports)
                return RevokedDevice(
                    outcome="revoked",
                    user=entry.spec.user,
                    device=entry.spec.serial,
                    backup=entry.backup,
                    end_sessions=done.end_sessions,
                )

    def verify_backup(
        self, *backups: Place, identities: Sequence[Place], accept_label: bool = False
    ) -> tuple[BackupCheck, ...]:
        """Check that backups can be decrypted and contain a QR code for AWS. Return a result for each.

        `identities` are files. The Interaction returns the passphrase of a file that has one.
        """
        with self._call() as settings:
            keys = wiring.age_keys.Identities([*map(Path, identities)], passphrase_fd=None, person=settings.interaction)
            files = [parse_location(str(backup)) for backup in backups]
            checked = wiring.backups.verify_backups(settings, files, keys, accept_label=accept_label)
            return _plain(tuple(result.checked for result in checked))

    def plan(self, roster: Place, plan: Place, *, only: Sequence[str] = ()) -> PlanSummary:
        """Compare a roster with IAM, and write a plan to the file `plan`. Changes nothing in AWS.

        With `only`, the plan has only these users of the roster. Raise UsageFault with a note for each wrong row.
        """
        with self._call() as settings:
            file, rows = Path(plan), wiring.rollout.read_roster(Path(roster))
            if rows.faults:
                raise error_of_faults(str(roster), rows.faults, "fix the errors in the roster")
            request = PlanOptions(
                rows=rows.rows, selection=UserSelection(), only=tuple(only), trust_report=False, workers=WORKERS
            )
            store, record = wiring.stores.open_backup_store(settings), wiring.rollout.read_run_records([file], ())
            with wiring.rollout.open_rollouts(settings, None, store=store, workers=WORKERS, record=record) as rollouts:
                ports = rollouts.enter(rollouts.selection.chosen[0], progress=settings.progress)
                new_plan = ports.plan_users(request, progress=settings.progress)
            text = plan_text(new_plan)
            wiring.rollout.write_file(file, text)
            changes = device_changes(new_plan.steps)
            cells: dict[str, Any] = {
                **new_plan.counts,
                **plan_summary(new_plan, changes, full_lists=True),
                "users": changes,
            }
            return _plain(PlanSummary(plan=str(file), sha256=plan_digest(text), account=new_plan.account, **cells))

    @_closed_at_exit
    def apply(
        self,
        plan: Place,
        *,
        sha256: str | None = None,
        staged: bool = False,
        accept_lockout: bool = False,
        max_failures: int | None = None,
        results: Place | None = None,
        workers: int = WORKERS,
    ) -> Iterator[UserResult]:
        """Enroll the users of a plan. Yield the result of each user as soon as it is known, in any order.

        The work begins with the first result. If the iterator is closed before its end, the users in progress are
        finished, and no other user is started. Afterward, apply the same plan again to continue. `sha256` is that of
        the plan's file, and `results` is the folder for the result files. With `accept_lockout`, users without a
        public key are enrolled too. Stop when more than `max_failures` users have failed. The other arguments are the
        options of the command. Raise UsageFault if `workers` is not 1 to 64, or `max_failures` is below 0.
        """
        file, named = Path(plan), Path(results) if results else None
        with self._call() as settings:
            if workers not in range(1, MAX_WORKERS + 1) or (max_failures or 0) < 0:
                raise UsageFault(
                    "workers or max_failures is out of range", "use 1 to 64 workers, and 0 or more failures"
                )
            store = wiring.stores.open_backup_store(
                settings, self._place, to=self._to, local_backups=self._local_backups
            )
            users, digest = wiring.rollout.read_plan(file, expected=[sha256] if sha256 else [])
            record = wiring.rollout.read_run_records([file], (), results=named)
            with wiring.rollout.open_rollouts(settings, None, store=store, workers=workers, record=record) as rollouts:
                check_account(users, rollouts.caller)
                check_copies(
                    users.without_copy,
                    users.shut_out,
                    staged=staged,
                    accept_lockout=accept_lockout,
                    sealed=bool(store.recipients()),
                )
                check_backup_folder(store, users.steps)
                wiring.rollout.record_lost_hashes(rollouts.ledger, record)
                folder = wiring.rollout.open_results_folder(named, file)
                opened = rollouts.enter(rollouts.selection.chosen[0], progress=settings.progress)
                with opened.recording(folder, plan=digest) as recording:
                    run = PlanRun(
                        run=wiring.ports.new_run_id(opened.ports.iam_reader),
                        plan=users,
                        records=opened.records(digest),
                        ports=recording.ports,
                        folder=folder,
                        source=file.name,
                        write=partial(wiring.rollout.write_files, folder),
                    )
                    execution = opened.execution(workers=workers, max_failures=max_failures)
                    with run.results(execution, staged=staged, record=record, begin=recording.begin) as row_results:
                        yield from _taken(row_results, run, execution)

    def audit(
        self, *, rules: Sequence[str] = (), baseline: Place | None = None, max_age: float = REPORT_AGE
    ) -> AuditReport:
        """Check the account for MFA problems, and record the findings in the ledger. Changes nothing in AWS.

        `rules` has the IDs of rules or subjects; without them, all rules are checked. `baseline` is a file of accepted
        findings. `max_age` is that of the credential report in seconds.
        """
        with self._call() as settings:
            options = AuditOptions(
                rules=choose_rules(rules),
                limits=Limits(),
                fail_on=Severity.LOW,
                accepted=wiring.audit.open_baseline(Path(baseline) if baseline else None, ALL_RULES),
            )
            source = wiring.audit.SnapshotSource(file=None, max_age=max_age, central_root=True)
            with wiring.audit.open_snapshots(settings, source, None) as snapshots:
                audited = audit_account(snapshots.take(snapshots.selection.chosen[0]), options)
                wiring.audit.compare_with_ledger(settings, snapshots.organization, audited)
            return _plain(audit_report(audited.snapshot, audited.answers))

    def lockout(
        self, policy: str | None = None, *, group: str | None = None, max_age: float = REPORT_AGE
    ) -> tuple[AccessAfterPolicy, ...]:
        """Return what would change for users if a policy were attached to a group, or to all users.

        `policy` is the policy as JSON; without it, it is the one of `mfa-kit policy show`. A user whose `standing` is
        `locked out`, `locked out until they enroll` or `unknown` would or might lose access. Raise Lockout if some
        users could not be checked.
        """
        source = wiring.audit.SnapshotSource(
            file=None,
            max_age=max_age,
            passwords_of=may_have_to_change,
            afresh=lambda user: group in user.user.groups,
        )
        with self._call() as settings:
            if policy is not None:
                find_traps(policy)  # raises UsageFault if the text is not a policy
            snapshot = wiring.audit.snapshot_of_account(settings, source)
            accesses = access_with(snapshot, policy or force_mfa(snapshot.partition), group=group)
            if snapshot.unread_users:
                raise unread_users(snapshot.unread_users[0])
            return _plain(tuple(after_policy(access) for access in accesses if access.state not in UNCHANGED))

    @contextmanager
    def _call(self) -> Iterator[Settings]:
        """Yield the settings of one call, whose Stop no other call shares."""
        if self._settings is None:
            raise UsageFault("this MfaKit is not open", "use it in a with statement: with MfaKit() as kit")
        loss = _Loss(Stop())
        with only_our_errors():
            try:
                yield replace(self._settings, stop=loss.stop, end=loss.end)
            except KeyboardInterrupt:
                if loss.fault is None:
                    raise
                raise loss.fault from None

    @property
    def _place(self) -> BackupLocation | None:
        """The folder of backups. Raise UsageFault if its URL is invalid."""
        return None if self._folder is None else parse_location(str(self._folder))

    @contextmanager
    def _device_work(
        self, user: str, device: Virtual | OathKey
    ) -> "Iterator[tuple[wiring.ports.DeviceWork, Options, EnrollmentMethod]]":
        """Open what a call needs that makes a device for a user, who must exist."""
        with self._call() as settings:
            options = self._options_of(device)
            backups = wiring.stores.NewBackupOptions(
                to=self._to,
                to_files=(),
                passphrase=False,
                passphrase_fd=None,
                backup_dir=self._place,
                local_backups=self._local_backups,
            )
            store = wiring.stores.open_store_for_device(settings, backups, alone=options.backup_alone)
            with wiring.ports.open_device_work(settings, user, options, store) as work:
                yield work, options, METHODS["virtual" if isinstance(device, Virtual) else "oath"]

    def _options_of(self, device: Virtual | OathKey) -> Options:
        if isinstance(device, Virtual):
            return VirtualOptions(codes=Codes.GENERATED)
        if device.touch and self._person is None:
            raise Declined("the key must be touched for each code", "give an interaction, or touch=False")
        return OathOptions(key=device.key, touch=device.touch, asset=device.asset, wait=device.wait)


def _taken(
    results: Generator[RowResult, None, None], run: PlanRun, execution: Execution
) -> Generator[UserResult, None, None]:
    """Yield the results, and record them. If the generator is closed, finish the rows in progress, and record them."""
    try:
        for result in results:
            run.take(result)
            yield _plain(user_result(result))
    except GeneratorExit:
        execution.stop.set()
        for result in results:
            run.take(result)
        raise


@dataclass(slots=True)
class _Loss:
    """The loss of the session with a shared ledger, at which a command ends its process. A call ends its threads."""

    stop: Stop
    fault: IntegrityFault | None = None

    def end(self, fault: IntegrityFault) -> NoReturn:
        """End the work of the call in all threads, because another process may already settle its runs."""
        self.fault = fault
        self.stop.set()
        raise fault


def _plain(value: T) -> T:
    """Return a result with plain strings in place of enums and messages, and with tuples in place of lists."""
    plain: Any = value
    if isinstance(value, str):
        plain = str(value)
    elif isinstance(value, list | tuple):
        plain = tuple(map(_plain, value))
    elif is_dataclass(value) and not isinstance(value, type):
        plain = replace(value, **{each.name: _plain(getattr(value, each.name)) for each in fields(value)})
    return cast("T", plain)

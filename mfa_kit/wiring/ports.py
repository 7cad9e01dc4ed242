"""Opens AWS, the ledger and the backups, as the ports of enrollment."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Unpack

from mfa_kit.core import models
from mfa_kit.core.interaction import Progress
from mfa_kit.core.models import Caller
from mfa_kit.core.recorded_keys import KeyEvent
from mfa_kit.core.stopping import Stop
from mfa_kit.enrollment.pacing import Backoff, CallPolicy, InTurn
from mfa_kit.enrollment.planning import resolve_user
from mfa_kit.enrollment.ports import BackupStore, EnrollmentPorts, IamReader
from mfa_kit.wiring.aws import connect
from mfa_kit.wiring.ledger import TokenRecords, record_key, recorded
from mfa_kit.wiring.methods.method import Context, Options
from mfa_kit.wiring.methods.registry import METHODS, Methods
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from mfa_kit.adapters.aws.iam import Iam
    from mfa_kit.adapters.ledger.ledger import Ledger
    from mfa_kit.wiring.security_keys import KeyOptions, SecurityKeys


def new_run_id(iam_reader: IamReader) -> str:
    """Return the ID of a run that begins now, according to AWS's clock."""
    import secrets

    return models.run_id(iam_reader.now(), secrets.token_bytes(4))


@contextmanager
def open_ports(
    settings: Settings, *, store: BackupStore, oath_keys: OathKeys | None = None, stop: Stop | None = None
) -> Iterator[tuple[EnrollmentPorts, Caller]]:
    """Connect to AWS and the ledger. Yield the ports for changing one user at a time, and the Caller.

    The Caller is the AWS identity of the credentials. `store` is the store of backups. A command that uses OATH keys
    itself passes its `oath_keys`, so that the user types each password only once. `stop` is as in `open_iam`. Raise the
    errors of `connect`.
    """
    with connect(settings, stop=stop) as (iam, ledger, caller):
        yield enrollment_ports(settings, iam=iam, ledger=ledger, store=store, oath_keys=oath_keys), caller


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceWork:
    """What a command needs that gives a user a device. `user` is the name in IAM."""

    user: str
    ports: EnrollmentPorts
    caller: Caller
    context: Context


@contextmanager
def open_device_work(settings: Settings, user: str, options: Options, store: BackupStore) -> Iterator[DeviceWork]:
    """Connect to AWS and the ledger, and find the user, who must exist. `user` may be an ARN or @me.

    `options` are those of the enrollment method. Raise the errors of `connect`, and NoSuchEntity.
    """
    oath_keys = OathKeys(settings, password_stdin=options.password_stdin)
    with open_ports(settings, store=store, oath_keys=oath_keys) as (ports, caller):
        yield DeviceWork(
            user=resolve_user(user, caller=caller, iam_reader=ports.iam_reader, must_exist=True),
            ports=ports,
            caller=caller,
            context=method_context(settings, ports.iam_reader, oath_keys),
        )


def enrollment_ports(
    settings: Settings,
    *,
    iam: "Iam",
    ledger: "Ledger",
    store: BackupStore,
    oath_keys: OathKeys | None = None,
    methods: Methods = METHODS,
    policy: CallPolicy | None = None,
    progress: Progress | None = None,
    sleep: Callable[[float], None] | None = None,
) -> EnrollmentPorts:
    """Return the ports of enrollment in the account of `iam`. They record the recipients of each new backup.

    `store` is the store of backups. `oath_keys` defaults to a new OathKeys, `policy` to a Backoff for one user at a
    time, and `progress` and `sleep` to those of the settings.
    """
    context = Context(settings=settings, iam_reader=iam, oath_keys=oath_keys or OathKeys(settings))
    return EnrollmentPorts(
        iam_reader=iam,
        device_writer=InTurn(iam, policy or Backoff(sleep=settings.sleep, progress=settings.progress)),
        store=recorded(store, ledger),
        journal=ledger,
        progress=progress or settings.progress,
        backend=methods.backend_finder(context),
        sleep=sleep or settings.sleep,
        on_keys=methods.on_keys,
        resumable=methods.resumable,
        dry=settings.dry_run,
    )


def _open_security_keys(settings: Settings, **options: "Unpack[KeyOptions]") -> "SecurityKeys":
    from mfa_kit.wiring.security_keys import SecurityKeys

    return SecurityKeys(settings, **options)


def method_context(
    settings: Settings, iam_reader: IamReader, oath_keys: OathKeys, *, own_keys: bool = False
) -> Context:
    """Return the Context of a command that gives users devices.

    `iam_reader` reads from IAM. Before a user gets a display token, the token is looked up in the ledger. `own_keys` is
    that of the Context.
    """
    return Context(
        settings=settings,
        iam_reader=iam_reader,
        oath_keys=oath_keys,
        own_keys=own_keys,
        security_keys=partial(_open_security_keys, settings),
        check_token=TokenRecords(settings).check_free,
        record_key=partial(record_key, settings, KeyEvent.ENROLLED),
    )

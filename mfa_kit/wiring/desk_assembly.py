"""Combines ports into an EnrollmentPorts, after IAM was opened."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mfa_kit.core.interaction import Progress
from mfa_kit.enrollment.ports import BackupStore, DeviceWriter, EnrollmentPorts, IamReader
from mfa_kit.wiring.backups import recorded
from mfa_kit.wiring.methods.recipe import Context, Methods
from mfa_kit.wiring.oath_keys import OathKeys
from mfa_kit.wiring.settings import Settings

if TYPE_CHECKING:
    from mfa_kit.adapters.ledger.ledger import Ledger


def assemble_desk(
    settings: Settings,
    methods: Methods,
    *,
    iam_reader: IamReader,
    device_writer: DeviceWriter,
    store: BackupStore,
    ledger: "Ledger",
    sleep: Callable[[float], None],
    oath_keys: OathKeys | None = None,
    progress: Progress | None = None,
) -> EnrollmentPorts:
    """Return an EnrollmentPorts of these ports. It records the recipients of each new backup in the ledger.

    `progress` defaults to that of the settings, and `oath_keys` to a new OathKeys.
    """
    context = Context(settings=settings, iam_reader=iam_reader, oath_keys=oath_keys or OathKeys(settings))
    return EnrollmentPorts(
        iam_reader=iam_reader,
        device_writer=device_writer,
        store=recorded(store, ledger),
        journal=ledger,
        progress=progress or settings.progress,
        backend=methods.carrier_finder(context),
        sleep=sleep,
        on_keys=methods.on_keys,
        resumable=methods.resumable,
        dry=settings.dry_run,
    )

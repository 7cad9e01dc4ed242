"""`mfa-kit key recall`: list the users whose keys an advisory or the FIDO metadata names, from the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from mfa_kit import wiring
from mfa_kit.cli.backup_options import metadata_options
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import LocalPath
from mfa_kit.core.file_formats import csv_table
from mfa_kit.core.firmware import NOT_OATH, Verdict
from mfa_kit.core.message import suggest
from mfa_kit.core.models import USER_NAME
from mfa_kit.core.recalls import RecalledKey, find_recalls
from mfa_kit.core.text import ResultRow, count_of
from mfa_kit.rollout.roster import ACCOUNT, ACTION, COLUMNS, REPLACES, RosterAction
from mfa_kit.security_keys.attestation import revoked_models

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.wiring.settings import Settings

FILE = LocalPath()


@click.command(cls=Verb)
@click.option(
    "--advisory", type=FILE, metavar="FILE", help="Use the advisories in this file, not those that mfa-kit knows."
)
@metadata_options
@click.option("--roster", type=FILE, metavar="FILE", help="Write a roster that replaces the affected devices.")
def recall(
    *,
    advisory: Path | None,
    roster: Path | None,
    settings: Settings,
    output: Output,
    **key_options: Unpack[wiring.security_keys.KeyOptions],
) -> int:
    """List the users whose keys an advisory names, in all accounts in the ledger. AWS is not asked.

    With --mds, list the users whose models are revoked or compromised according to the metadata, instead of those whose
    keys have an advisory that mfa-kit knows. The exit code is 1 if a key is affected, at least probably.
    """
    if roster:
        wiring.files.check_new(roster)
    uses_metadata = any(map(key_options.get, ("mds", "mds_root")))
    advisories = wiring.files.read_advisories(advisory) if advisory or not uses_metadata else []
    if uses_metadata:
        source, models = wiring.security_keys.SecurityKeys(settings, **key_options).published("")
        advisories += revoked_models(models, time.time())
        if source.passed_over or source.next_update < datetime.now(UTC).date():
            skipped = f"{source.passed_over} models could not be read"
            settings.progress.alert(f"{source.name}: {skipped}, and a newer file is due on {source.next_update}")
    with wiring.ledger.open_ledger(settings) as ledger:
        recalls = find_recalls(wiring.ledger.recorded_keys(ledger), advisories)
    _print(recalls, settings, output)
    _name_unaffected(recalls, settings)
    if roster:
        _write_roster(roster, recalls, settings)
    return 1 if any(recalled.recall.verdict.is_affected for recalled in recalls) else 0


def _print(recalls: Sequence[RecalledKey], settings: Settings, output: Output) -> None:
    """Print the keys. In a table, the unknown keys are a list of their own."""
    unknown = [recalled for recalled in recalls if recalled.recall.verdict is Verdict.UNKNOWN]
    is_split = output.form == "table" and bool(unknown)
    for part in [recalls[: -len(unknown)], unknown] if is_split else [recalls]:
        if part is unknown:
            output.prose("", "Unknown, because facts are missing or not attested:")
        output.many(
            "key-recall",
            list(map(_row, part)),
            empty="no key is known to be affected or not listed",
            narrow=("key", "user", "account", "advisory", "verdict"),
        )
    if unknown:
        count = count_of(len({recalled.key.identity for recalled in unknown}), "key")
        why = f"unknown for {count}: facts are missing, or the key only claims them"
        settings.progress.alert(suggest(f"{why}; to attest a key", "verify fido2"))
    elif not recalls:
        why = "the ledger has no keys, so nothing is known about the keys of users"
        settings.progress.alert(suggest(f"{why}; to record one", "verify fido2"))


def _row(recalled: RecalledKey) -> ResultRow:
    (key, device, recall), facts = recalled, recalled.key.facts
    return {
        "key": facts.serial or facts.label or facts.card or key.identity,
        "model": facts.model,
        "firmware": facts.firmware,
        "user": device.user if device else None,
        "account": device.account if device else None,
        "device": device.serial if device else None,
        "advisory": recall.names,
        "verdict": str(recall.verdict),
        "attested": sorted(facts.attested),
        "what": [f"{advisory.what}; {advisory.oath}" for advisory in recall.advisories],
        "source": [advisory.source for advisory in recall.advisories],
    }


def _needs_exchange(recalled: RecalledKey) -> bool:
    """Return whether an IAM user needs another key: not if the secret is in OATH, and the flaw is elsewhere."""
    device = recalled.device
    return device is not None and USER_NAME.fullmatch(device.user) is not None and not _is_in_unaffected_oath(recalled)


def _name_unaffected(recalls: Iterable[RecalledKey], settings: Settings) -> None:
    """Print how many devices on affected keys are in OATH, if the advisories do not affect OATH."""
    if number := sum(map(_is_in_unaffected_oath, recalls)):
        count = count_of(number, "device of OATH needs", "devices of OATH need")
        settings.progress.note(f"{count} no other key, because the advisories on the key do not affect OATH")


def _is_in_unaffected_oath(recalled: RecalledKey) -> bool:
    """Return whether the device on an affected key is in OATH, which none of the advisories affects."""
    device, recall = recalled.device, recalled.recall
    is_oath = device is not None and device.card is not None
    return is_oath and recall.verdict.is_affected and all(advisory.oath == NOT_OATH for advisory in recall.advisories)


def _left_out(number: int) -> str:
    return f"{number} left out: without a device, of root, or in OATH, which is not affected" if number else ""


def _write_roster(file: Path, recalls: Iterable[RecalledKey], settings: Settings) -> None:
    """Write the roster that replaces the devices on affected keys: one row for each device, with its kind."""
    affected = [recalled for recalled in recalls if recalled.recall.verdict.is_affected]
    devices = [recalled.device for recalled in filter(_needs_exchange, affected) if recalled.device]
    rows = {(device.account, device.serial.casefold()): device for device in reversed(devices)}
    why_out = _left_out(len(affected) - len(devices))
    if not rows:
        why = why_out or "no key is known to be affected"
        settings.progress.note(f"no roster was written, because it would have no devices; {why}")
        return
    if not settings.dry_run:
        lines = [
            {
                "user": device.user,
                "kind": "oath" if device.card else "fido2",
                ACTION: RosterAction.REPLACE,
                REPLACES: device.serial,
                ACCOUNT: device.account,
            }
            for device in reversed(rows.values())
        ]
        wiring.files.write_new_file(file, csv_table((*COLUMNS, ACTION, REPLACES, ACCOUNT), lines).encode())
    verb = "would have" if settings.dry_run else "has"
    parts = filter(None, [f"{file} {verb} {count_of(len(rows), 'device')} to replace", why_out])
    how = "the old devices stay until the new ones work; remove them with `rollout finish`"
    settings.progress.note(suggest("; ".join([*parts, f"{how}; to go on"]), "rollout plan {} -o PLAN", str(file)))

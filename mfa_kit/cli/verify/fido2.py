"""`mfa-kit verify fido2`: check whether a security key, or each key of a box, is genuine and suitable."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

import click

from mfa_kit import __version__, wiring
from mfa_kit.cli import messages
from mfa_kit.cli.backup_options import KEY_PROFILE, PIN_STDIN, WHICH_FIDO, metadata_options
from mfa_kit.cli.key.sources import find_oath_half
from mfa_kit.cli.options import Verb
from mfa_kit.cli.value_types import LocalPath
from mfa_kit.cli.verify.oath import check_rows
from mfa_kit.core.checks import Passed, Value
from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.core.recorded_keys import KeyEvent
from mfa_kit.core.stopping import INTERRUPTS
from mfa_kit.core.text import Cell, ResultRow, iso_time, one_line
from mfa_kit.security_keys.attestation import Examined, KeyExaminer, SeenBefore
from mfa_kit.security_keys.authenticator import MetadataSource, PluggedKey, Trusted
from mfa_kit.security_keys.profile import KeyProfile, KeyState, compare_profile

if TYPE_CHECKING:
    from mfa_kit.cli.output import Output
    from mfa_kit.core.interaction import Progress
    from mfa_kit.wiring.settings import Settings


@click.command("fido2", cls=Verb)
@WHICH_FIDO
@click.option(
    "--require",
    type=LocalPath(),
    metavar="FILE",
    help="Requirements for keys: a policy file (`mfa-kit help keys/policy-file`).",
)
@KEY_PROFILE
@metadata_options
@click.option("--watch", is_flag=True, help="Check one key after another, until Ctrl-C.")
@click.option(
    "--asset",
    metavar="LABEL",
    help="Your label for the key in the receipt. With --watch, a number is added to the label.",
)
@PIN_STDIN
def verify_fido2(
    *,
    wanted: str | None,
    require: Path | None,
    key_profile: str | None,
    watch: bool,
    asset: str | None,
    settings: Settings,
    output: Output,
    **key_options: Unpack[wiring.security_keys.KeyOptions],
) -> int:
    """Check whether a security key is genuine and suitable. You touch the key twice. Nothing is stored on the key.

    With --key-profile, no touch is needed, and nothing changes: the result is what the key lacks for the profile.
    """
    settings, profile = wiring.settings.take_key_profile(settings, key_profile)
    if profile:
        if require or watch or asset:
            raise UsageFault("a profile is compared with one key", "omit --require, --watch and --asset")
        return _compare(profile, wanted, settings, output)
    keys = wiring.security_keys.SecurityKeys(settings, **key_options)
    policy = keys.read_policy(require)
    if watch and (wanted or key_options.get("pin_stdin")):
        raise UsageFault("--watch checks many keys, so --key and --pin-stdin cannot be used", "omit these options")
    oath_keys = wiring.oath_keys.OathKeys(settings)

    def record(examined: Examined, label: str | None) -> None:
        facts = replace(keys.facts_of(examined.evidence, oath_keys), label=label)
        wiring.ledger.record_key(settings, KeyEvent.VERIFIED, facts)

    with keys.metadata() as published:
        examiner = keys.examiner(published, policy)
        if watch:
            return _Box(examiner, record, asset=asset, output=output, progress=settings.progress).work()
        examined = examiner.examine_one(wanted)
    record(examined, asset)
    _print(examined, asset=asset, output=output)
    return 0 if isinstance(examined.answer, Passed) else 1


def _compare(profile: KeyProfile, key_name: str | None, settings: Settings, output: Output) -> int:
    """Print what a key lacks for a profile. Return the exit code: 1 if it lacks something, otherwise 0."""
    keys = wiring.security_keys.SecurityKeys(settings)
    with keys.open(key_name) as opened:
        info = opened.info()
    half = find_oath_half(info.plugged, keys, settings)
    lacks = compare_profile(profile, KeyState(info=info, oath=half.has_applet))
    row: ResultRow = {
        "verdict": "lacking" if lacks else "suitable",
        "profile": profile.name,
        "key": info.plugged.product or "security key",
        "serial": info.plugged.serial,
        "where": info.plugged.where,
        "lacks": lacks,
    }
    output.one("verify-profile", row)
    for warning in profile.warnings:
        settings.progress.alert(warning)
    return int(bool(lacks))


def _print(examined: Examined, *, asset: str | None, output: Output) -> None:
    match output.form:
        case "csv" | "text":
            output.many("verify-fido2", [line_of(examined, asset=asset)], empty="")
        case "table":
            output.many("verify-fido2", check_rows(examined.answer), empty="")
            output.one("verify-fido2", line_of(examined, asset=asset))
        case _:
            output.one("verify-fido2", receipt_of(examined, asset=asset))


class _Box:
    """Examines the security keys of a box one after another until the user stops, and counts the results.

    `record` records an examined key in the ledger, with its label.
    """

    def __init__(
        self,
        examiner: KeyExaminer,
        record: Callable[[Examined, str | None], None],
        *,
        asset: str | None,
        output: Output,
        progress: Progress,
    ) -> None:
        self._record = record
        self._examiner, self._asset, self._output, self._progress = examiner, asset, output, progress
        self._tally: Counter[str] = Counter()

    def work(self) -> int:
        """Examine keys as they are plugged in, until Ctrl-C.

        Return the exit code: 1 if a key was refused or could not be examined, otherwise 0.
        """
        gone: PluggedKey | None = None
        while True:
            try:
                place = self._examiner.next(gone)
            except KeyboardInterrupt:
                INTERRUPTS.forget()
                break
            gone = place
            self._examine(place)
            self._progress.note(", ".join(f"{count} {verdict}" for verdict, count in sorted(self._tally.items())))
        return 0 if not self._tally["refused"] and not self._tally["not judged"] else 1

    def _examine(self, place: PluggedKey) -> None:
        asset = self._asset and f"{self._asset}-{self._judged + 1}"
        try:
            examined = self._examiner.examine(place.where)
        except DeviceFault as fault:
            self._tally["not judged"] += 1
            messages.print_error(str(fault), hint=fault.hint)
            return
        if isinstance(examined, SeenBefore):
            self._progress.alert("this key was already checked, so it is not counted again")
            return
        self._tally["proof" if isinstance(examined.answer, Passed) else "refused"] += 1
        self._record(examined, asset)
        self._print_line(examined, asset)

    @property
    def _judged(self) -> int:
        """The number of keys with a verdict. Each of them has a line in the output."""
        return self._tally["proof"] + self._tally["refused"]

    def _print_line(self, examined: Examined, asset: str | None) -> None:
        line = line_of(examined, asset=asset)
        match self._output.form:
            case "table":
                words = [str(line[name] or "") for name in ("verdict", "model", "serial", "asset")]
                failed = [
                    f"{check.name}: {check.detail}" for check in examined.answer.checks if check.value is Value.FAIL
                ]
                self._output.text(one_line("  ".join(filter(None, [*words, *failed]))) + "\n")
            case "csv" | "text":
                self._output.many("verify-fido2", [line], empty="", header=self._judged == 1)
            case _:
                self._output._replace(form="json").one("verify-fido2", receipt_of(examined, asset=asset))


def line_of(examined: Examined, *, asset: str | None) -> ResultRow:
    """Return a key's result as one row: the verdict, the key's model and serial, and the checks that failed."""
    evidence = examined.evidence
    answer = examined.answer
    return {
        "verdict": "proof" if isinstance(answer, Passed) else "refused",
        "model": evidence.model.name if evidence.model else None,
        "serial": evidence.before.plugged.serial,
        "asset": asset,
        "aaguid": evidence.registration.aaguid,
        "firmware": evidence.firmware and str(evidence.firmware),
        "at": iso_time(evidence.at),
        "failed": [check.name for check in answer.checks if check.value is Value.FAIL],
        "warned": [check.name for check in answer.checks if check.value is Value.WARN],
    }


def receipt_of(examined: Examined, *, asset: str | None) -> ResultRow:
    """Return a key's result with all the evidence (the receipt). docs/keys.md describes the fields."""
    evidence = examined.evidence
    return {
        "mfa_kit": __version__,
        **line_of(examined, asset=asset),
        "product": evidence.before.plugged.product,
        "place": evidence.before.plugged.where,
        "versions": evidence.before.versions,
        "attestation": evidence.registration.format,
        "certificates_sha256": [hashlib.sha256(certificate).hexdigest() for certificate in evidence.registration.chain],
        "root_sha256": evidence.trust.root if isinstance(evidence.trust, Trusted) else None,
        "metadata": _source_cell(evidence.source),
        "checks": check_rows(examined.answer),
    }


def _source_cell(source: MetadataSource | None) -> Cell:
    if source is None:
        return None
    return {
        "name": source.name,
        "number": source.number,
        "next_update": source.next_update.isoformat(),
        "root_sha256": source.root,
    }

"""What `mfa-kit verify fido2` does."""

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import click

from mfa_kit import __version__
from mfa_kit.cli import messages, options
from mfa_kit.cli import output as report
from mfa_kit.core.checks import Proof, Value
from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.security_keys.attestation import Examined, SeenBefore
from mfa_kit.security_keys.authenticator import PluggedKey, Trusted
from mfa_kit.wiring import security_keys as kit


def fido2(wanted: str | None, require: Path | None, *, watch: bool, asset: str | None) -> int:
    """Examine one key or many, print what was found; return 1 where the answer is no."""
    policy = kit.policy(require)
    if watch and (wanted or kit.piped()):
        raise UsageFault("--watch is for many keys", "leave out --key and --pin-stdin")
    with kit.metadata() as opened:
        bench = kit.Bench(opened, policy)
        if watch:
            return _watch(bench, asset=asset)
        examined = bench.examine(wanted)
    assert isinstance(examined, Examined)  # noqa: S101 - a bench that has seen one key knows no other
    _print(examined, asset=asset)
    return 0 if isinstance(examined.answer, Proof) else 1


def _print(examined: Examined, *, asset: str | None) -> None:
    output = options.form()
    if output == "csv":
        report.many("verify-fido2", [_line(examined, asset=asset)], output=output, empty="")
    elif output == "table":
        report.many("verify-fido2", _checks(examined), output=output, empty="")
        report.one("verify-fido2", _line(examined, asset=asset), output=output)
    else:
        report.one("verify-fido2", _receipt(examined, asset=asset), output=output)


def _watch(bench: kit.Bench, *, asset: str | None) -> int:
    """Examine keys as they come; end with a tally when a person has had enough."""
    tally: Counter[str] = Counter()
    gone: PluggedKey | None = None
    while True:
        try:
            place = bench.next(gone)
        except KeyboardInterrupt:
            break
        gone = place
        _one(bench, place, asset=asset and f"{asset}-{_judged(tally) + 1}", tally=tally)
        messages.Talk().note(", ".join(f"{count} {what}" for what, count in sorted(tally.items())))
    return 0 if not tally["refused"] and not tally["not judged"] else 1


def _judged(tally: Counter[str]) -> int:
    """How many keys have a line."""
    return tally["proof"] + tally["refused"]


def _one(bench: kit.Bench, place: PluggedKey, *, asset: str | None, tally: Counter[str]) -> None:
    try:
        examined = bench.examine(place.where)
    except DeviceFault as fault:
        tally["not judged"] += 1
        messages.complain(str(fault), hint=fault.hint)
        return
    if isinstance(examined, SeenBefore):
        messages.Talk().note("this key was here before; it is not counted again")
        return
    line = _line(examined, asset=asset)
    tally[line["verdict"]] += 1
    match options.form():
        case "table":
            said = [line[name] for name in ("verdict", "model", "serial", "asset")]
            failed = [f"{check.name}: {check.detail}" for check in examined.answer.checks if check.value is Value.FAIL]
            click.echo(messages.printable("  ".join(filter(None, [*said, *failed]))))
        case "csv":
            report.many("verify-fido2", [line], output="csv", empty="", header=_judged(tally) == 1)
        case _:
            report.one("verify-fido2", _receipt(examined, asset=asset), output="json")


def _line(examined: Examined, *, asset: str | None) -> dict[str, Any]:
    """One key in one line."""
    evidence = examined.evidence
    answer = examined.answer
    return {
        "verdict": "proof" if isinstance(answer, Proof) else "refused",
        "model": evidence.model.name if evidence.model else None,
        "serial": evidence.before.plugged.serial,
        "asset": asset,
        "aaguid": evidence.registration.aaguid,
        "firmware": evidence.firmware and str(evidence.firmware),
        "at": options.written(evidence.at),
        "failed": [check.name for check in answer.checks if check.value is Value.FAIL],
        "warned": [check.name for check in answer.checks if check.value is Value.WARN],
    }


def _checks(examined: Examined) -> list[report.Row]:
    return [
        {"check": check.name, "result": check.value, "detail": check.detail, "source": check.source}
        for check in examined.answer.checks
    ]


def _receipt(examined: Examined, *, asset: str | None) -> dict[str, Any]:
    """Everything that the answer rests on; docs/verify-fido2.md names the fields."""
    evidence = examined.evidence
    source = evidence.source
    return {
        "mfa_kit": __version__,
        **_line(examined, asset=asset),
        "product": evidence.before.plugged.product,
        "place": evidence.before.plugged.where,
        "versions": evidence.before.versions,
        "attestation": evidence.registration.format,
        "certificates_sha256": [hashlib.sha256(each).hexdigest() for each in evidence.registration.chain],
        "root_sha256": evidence.trust.root if isinstance(evidence.trust, Trusted) else None,
        "metadata": source
        and {
            "name": source.name,
            "number": source.number,
            "next_update": source.next_update.isoformat(),
            "root_sha256": source.root,
        },
        "checks": _checks(examined),
    }

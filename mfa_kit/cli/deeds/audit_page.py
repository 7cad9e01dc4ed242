"""An audit as one HTML page for somebody who reads no tables: no script, nothing from elsewhere, all escaped."""

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape

from mfa_kit.account.snapshot import Person, Snapshot, people
from mfa_kit.audit.finding import Answer, Result, Severity
from mfa_kit.cli.messages import printable
from mfa_kit.cli.options import written
from mfa_kit.core.models import Kind
from mfa_kit.wiring.desk import beside_lab

STYLE = """
  body { font: 15px/1.5 system-ui, sans-serif; color: #1a1a1a; margin: 2rem auto; max-width: 62rem; padding: 0 1rem }
  h1 { font-size: 24px; margin: 0 } h2 { font-size: 18px; margin: 2.2rem 0 .6rem } p { margin: .3rem 0 }
  .lead { font-size: 17px; margin: 1rem 0 } .soft { color: #595959 }
  .charts { display: flex; flex-wrap: wrap; gap: 2rem }
  figure { margin: 1rem 0; flex: 1 1 18rem } figcaption { font-weight: 600; margin-bottom: .4rem }
  svg { max-width: 100%; height: auto } svg text { font: 13px system-ui, sans-serif; fill: #1a1a1a }
  table { border-collapse: collapse; width: 100% } thead { display: table-header-group }
  th, td { text-align: left; padding: .35rem .9rem .35rem 0; border-bottom: 1px solid #d5d5d5; vertical-align: top }
  details { border: 1px solid #d5d5d5; border-radius: 6px; margin: .6rem 0; padding: .5rem .9rem; break-inside: avoid }
  summary { cursor: pointer; font-weight: 600 } li { margin: .5rem 0 } td, li { overflow-wrap: anywhere }
  pre { background: #f4f4f4; padding: .5rem .7rem; margin: .3rem 0; white-space: pre-wrap; font-size: 13px }
  .mark { display: inline-block; min-width: 4.6rem; padding: 0 .5rem; border-radius: 4px; color: #fff; font-size: 13px;
    text-align: center; font-weight: 600 }
  @page { margin: 15mm }
  @media print {
    body { margin: 0; max-width: none; print-color-adjust: exact; -webkit-print-color-adjust: exact }
    details { break-inside: auto } summary { break-after: avoid } li, figure { break-inside: avoid }
    details::details-content { content-visibility: visible; block-size: auto }
  }
"""
# Colors that are told apart without seeing red from green, each dark enough for white letters.
COLORS = {
    "critical": "#8b0a1a",
    "high": "#b8400c",
    "medium": "#8a6100",
    "low": "#4a5a6a",
    "fail": "#8b0a1a",
    "unknown": "#6b4fa0",
    "pass": "#1f6f8b",
    "not applicable": "#6b6b6b",
}
WAYS = (
    ("security key or passkey", "#1f6f8b"),
    ("code from an app or a token", "#4d9a6a"),
    ("kind unknown", "#6b4fa0"),
    ("text message", "#b8400c"),
    ("no MFA", "#8b0a1a"),
)
# Names in a row of the summary.
SHOWN = 3
RADIUS, ROUND = 54, 339.292  # a circle's radius and circumference


def page(snapshot: Snapshot, answers: Sequence[Answer]) -> str:
    """Return the page."""
    account = _text(beside_lab(snapshot.account))
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
        f"<title>Sign-in audit of account {account}</title><style>{STYLE}</style></head><body>",
        f"<h1>Sign-in audit of AWS account {account}</h1>",
        f'<p class="soft">Read {_text(written(snapshot.at))} as {_text(snapshot.caller)}; {_made(snapshot)}.</p>',
        f'<p class="lead">{_lead(answers)}</p>',
        *_holes(snapshot),
        '<div class="charts">',
        *_ring("What the rules say", Counter(str(one.result) for one in answers), [str(each) for each in Result]),
        *_bars("What fails, by severity", _by_severity(answers)),
        "</div>",
        *_coverage(people(snapshot)),
        *_first(answers),
        "<h2>Every rule</h2>",
        *(line for one in answers for line in _details(one)),
        "</body></html>",
    ]
    return "\n".join(lines)


def _text(value: str) -> str:
    """Escape what is shown; control and bidirectional characters are written out, as in a terminal."""
    return escape(printable(value))


def _made(snapshot: Snapshot) -> str:
    if snapshot.report is None:
        return "the credential report could not be read"
    return f"credential report of {written(snapshot.report.made)}"


def _are(number: int, of: str = "") -> str:
    return f"{number}{of} {'is' if number == 1 else 'are'}"


def _lead(answers: Sequence[Answer]) -> str:
    count = Counter(one.result for one in answers)
    worst = next((one.rule.severity for one in answers if one.result is Result.FAIL), None)
    applied = len(answers) - count[Result.NOT_APPLICABLE]
    said = [f"<b>{count[Result.PASS]} of {applied} rules are kept.</b>"]
    if worst is not None:
        urgent = sum(
            one.result is Result.FAIL and one.rule.severity in {Severity.CRITICAL, Severity.HIGH} for one in answers
        )
        said.append(f"{_are(count[Result.FAIL])} not; {_are(urgent, ' of these')} urgent, the worst is {worst}.")
    if count[Result.UNKNOWN]:
        said.append(f"{count[Result.UNKNOWN]} could not be answered and are not counted as kept.")
    return " ".join(said)


def _holes(snapshot: Snapshot) -> Iterator[str]:
    if snapshot.holes:
        yield "<p><b>Could not be read:</b></p><ul>"
        for hole in snapshot.holes:
            about = f" of {_text(hole.about)}" if hole.about else ""
            yield f"<li>{_text(hole.part)}{about}: {_text(hole.why)}</li>"
        yield "</ul>"


def _ring(title: str, counts: Counter[str], order: Sequence[str]) -> Iterator[str]:
    """Draw shares as a ring, its legend beside it."""
    total = sum(counts.values()) or 1
    label = ", ".join(f"{counts[name]} {name}" for name in order)
    yield f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 340 150" role="img" aria-label="{label}">'
    gone = 0.0
    for row, name in enumerate(order):
        share = ROUND * counts[name] / total
        if counts[name]:
            yield (
                f'<circle cx="75" cy="75" r="{RADIUS}" fill="none" stroke="{COLORS[name]}" stroke-width="26" '
                f'stroke-dasharray="{share:.2f} {ROUND - share:.2f}" stroke-dashoffset="{ROUND / 4 - gone:.2f}"/>'
            )
        gone += share
        at = 38 + 26 * row
        yield f'<rect x="165" y="{at - 11}" width="13" height="13" fill="{COLORS[name]}"/>'
        yield f'<text x="186" y="{at}">{counts[name]} {name}</text>'
    yield "</svg></figure>"


def _by_severity(answers: Sequence[Answer]) -> dict[str, int]:
    return {
        str(severity): sum(one.result is Result.FAIL and one.rule.severity is severity for one in answers)
        for severity in Severity
    }


def _bars(title: str, counts: dict[str, int]) -> Iterator[str]:
    most = max(counts.values()) or 1
    label = ", ".join(f"{count} {name}" for name, count in counts.items())
    yield f'<figure><figcaption>{title}</figcaption><svg viewBox="0 0 340 150" role="img" aria-label="{label}">'
    for row, (name, count) in enumerate(counts.items()):
        at = 14 + 34 * row
        yield f'<text x="0" y="{at + 15}">{name}</text>'
        yield f'<rect x="70" y="{at}" width="{220 * count / most:.1f}" height="20" fill="{COLORS[name]}"/>'
        yield f'<text x="{78 + 220 * count / most:.1f}" y="{at + 15}">{count}</text>'
    yield "</svg></figure>"


def _way(one: Person) -> str:
    """Say by what somebody signs in, by the best that he has."""
    if Kind.FIDO2 in one.kinds:
        way = "security key or passkey"
    elif one.kinds - {Kind.SMS}:
        way = "code from an app or a token"
    elif one.kinds:
        way = "text message"
    else:
        way = "kind unknown" if one.mfa else "no MFA"
    return way


def _coverage(everybody: Sequence[Person]) -> Iterator[str]:
    """Draw how those with a console password sign in, as one bar."""
    ways = Counter(_way(one) for one in everybody if one.password)
    total = sum(ways.values())
    yield "<h2>How people sign in</h2>"
    if not total:
        yield "<p>Nobody is known to have a console password.</p>"
        return
    label = ", ".join(f"{ways[name]} {name}" for name, _ in WAYS if ways[name])
    yield f"<p>{total} users have a console password. Of each, the best device that is known counts.</p>"
    yield f'<svg viewBox="0 0 720 {44 + 24 * len(ways)}" role="img" aria-label="{label}">'
    at, row = 0.0, 0
    for name, color in WAYS:
        if count := ways[name]:
            wide = 720 * count / total
            yield f'<rect x="{at:.1f}" y="0" width="{wide:.1f}" height="28" fill="{color}"/>'
            yield f'<rect x="0" y="{44 + 24 * row}" width="13" height="13" fill="{color}"/>'
            yield f'<text x="22" y="{55 + 24 * row}">{count} {name} ({100 * count / total:.0f} %)</text>'
            at, row = at + wide, row + 1
    yield "</svg>"


def _first(answers: Sequence[Answer]) -> Iterator[str]:
    """List what fails, worst first: the page's summary."""
    failed = [one for one in answers if one.result is Result.FAIL]
    if failed:
        yield "<h2>What to put right, worst first</h2><table><thead><tr><th>Severity</th><th>What should be</th>"
        yield "<th>Where it is not</th></tr></thead><tbody>"
        for one in failed:
            subjects = list(dict.fromkeys(each.subject for each in one.findings))
            names = ", ".join(map(_text, subjects[:SHOWN]))
            more = f" and {len(subjects) - SHOWN} more" if len(subjects) > SHOWN else ""
            yield f"<tr><td>{_mark(one.rule.severity)}</td><td>{_text(one.rule.title)}</td><td>{names}{more}</td></tr>"
        yield "</tbody></table>"


def _mark(name: str) -> str:
    return f'<span class="mark" style="background:{COLORS[name]}">{name}</span>'


def _details(one: Answer) -> Iterator[str]:
    references = f" · {_text(', '.join(one.rule.references))}" if one.rule.references else ""
    yield f"<details><summary>{_mark(one.result)} {_text(one.rule.title)}</summary>"
    yield f'<p class="soft">{_text(one.rule.id)} · {one.rule.severity}{references}</p>'
    if one.why:
        yield f"<p>{_text(one.why)}</p>"
    if one.findings or one.unsure:
        yield "<ul>"
        for finding in one.findings:
            remedy = "\n".join(_text(line).replace("\n", "\\n") for line in finding.remedy)
            yield f"<li><b>{_text(finding.subject)}</b>: {_text(finding.evidence)}<pre>{remedy}</pre></li>"
        for unsure in one.unsure:
            yield f"<li><b>{_text(unsure.subject)}</b>: {_text(unsure.why)}</li>"
        yield "</ul>"
    yield "</details>"

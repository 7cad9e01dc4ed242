"""The files of an evidence export: devices, verdicts by framework, policies in force, and the source of each fact.

None of them contains a secret.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from mfa_kit.account.last_use import LastUse, LastUses
from mfa_kit.account.snapshot import AccountUsage, DeviceBackup, OpenFinding, Snapshot
from mfa_kit.account.users import AccountUser, account_users
from mfa_kit.audit.finding import Limits, RuleAnswer
from mfa_kit.audit.frameworks import FRAMEWORKS, ControlAnswer, ControlResult, answer_controls
from mfa_kit.audit.records import finding_id, finding_records
from mfa_kit.audit.registry import ALL_RULES, RULES, audit_snapshot
from mfa_kit.core.file_formats import csv_lines
from mfa_kit.core.letter import Letter, LetterSection
from mfa_kit.core.recorded_keys import KeyOfDevice, KeysOfDevices
from mfa_kit.core.text import iso_time
from mfa_kit.evidence.pseudonyms import Hiding
from mfa_kit.policy.lint import policies_about_mfa
from mfa_kit.policy.lockout import AccessState, access_with

SCHEMA, VERSION = "mfa-kit/evidence", 1
SUMMARY = "summary.pdf"
# The IAM operations that return the facts about devices, users and security keys.
DEVICE_SOURCES = ("ListVirtualMFADevices", "ListMFADevices")
USER_SOURCES = ("GetAccountAuthorizationDetails", "GetCredentialReport")
KEY_SOURCE = "GetMFADevice"


@dataclass(frozen=True, slots=True)
class ReadCall:
    """A request to IAM: the operation, its request ID, and the user it is about, or None for the account."""

    operation: str
    request_id: str
    user: str | None


def evidence_contents(
    snapshot: Snapshot,
    calls: Sequence[ReadCall],
    findings: Mapping[str, OpenFinding],
    keys: KeysOfDevices,
    *,
    program: str,
    hide: Hiding,
    draw: Callable[[Letter], bytes] | None,
) -> dict[str, bytes]:
    """Audit the snapshot, and return the files of an export by name, without the manifest.

    `findings` has the open findings in the ledger by ID. `keys`, `program` and `hide` are as in `evidence_files`.
    `draw` makes a PDF file of the summary; without it, there is no summary.
    """
    answers = audit_snapshot(snapshot, ALL_RULES, Limits())
    first_seen = {number: finding.since for number, finding in findings.items()}
    files = evidence_files(snapshot, answers, calls, first_seen, keys, program=program, hide=hide)
    contents = {name: text.encode() for name, text in files.items()}
    if draw is not None:
        contents[SUMMARY] = draw(summary_letter(snapshot, answers, files, hide=hide))
    return contents


def hashes_of(contents: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file by its name, in the order of the names."""
    import hashlib  # noqa: PLC0415 - loads OpenSSL, which help pages do not need

    return {name: hashlib.sha256(octets).hexdigest() for name, octets in sorted(contents.items())}


def manifest_of(hashes: Mapping[str, str]) -> bytes:
    """Return the manifest of an export: the SHA-256 of each file by its name, as JSON."""
    return json.dumps({"schema": SCHEMA, "version": VERSION, "sha256": hashes}, indent=1).encode() + b"\n"


def evidence_files(
    snapshot: Snapshot,
    answers: Sequence[RuleAnswer],
    calls: Sequence[ReadCall],
    first_seen: Mapping[str, float],
    keys: KeysOfDevices,
    *,
    program: str,
    hide: Hiding,
) -> dict[str, str]:
    """Return the texts of the files of an export, by name, without the manifest.

    `first_seen` has the Unix time when each finding was first seen, by ID. `keys` has the physical keys of devices.
    `program` is the name and version of mfa-kit. `hide` replaces names with pseudonyms, or keeps the names.
    """
    policies = list(_policies(snapshot, hide))
    return {
        "account.json": _json(_account(snapshot, program, hide)),
        "devices.csv": _table(DEVICE_COLUMNS, hide.order(_device_rows(snapshot, calls, keys, hide))),
        "findings.csv": _table(FINDING_COLUMNS, hide.order(_finding_rows(snapshot, answers, first_seen, hide))),
        "controls.csv": _table(CONTROL_COLUMNS, _control_rows(answers, hide)),
        "policies.csv": _table(POLICY_COLUMNS, [row for row, _, _ in policies]),
        **{file: text for _, file, text in policies},
        "sources.csv": _table(CALL_COLUMNS, hide.order(_call_rows(calls, hide))),
    }


# The cells of a row, as text.
Row = tuple[str, ...]
DEVICE_COLUMNS = (
    *("user", "kind", "device", "since", "certifications", "enrolled_by_mfa_kit", "enrolled", "backup"),
    *("backup_opened", "backup_tested", "source", "request_ids"),
    *("key_serial", "key_model", "key_firmware", "key_aaguid", "key_certifications", "key_certificate", "key_label"),
    *("key_attested", "key_erased"),
    *("last_used", "no_use_since", "use_from_files", "uses_read"),
)
# The facts about a key in the columns of a device, in their order.
KEY_FACTS = ("serial", "model", "firmware", "aaguid", "certifications", "certificate", "label")
FINDING_COLUMNS = ("result", "rule", "severity", "subject", "evidence", "id", "resource", "references", "first_seen")
CONTROL_COLUMNS = ("framework", "version", "control", "title", "result", "rules", "why")
CALL_COLUMNS = ("operation", "request_id", "user")
POLICY_COLUMNS = ("policy", "file", *(str(state) for state in AccessState))


def _json(value: object) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def _table(columns: Sequence[str], rows: Sequence[Row]) -> str:
    return csv_lines([columns, *rows])


def _cells(*values: object) -> Row:
    return tuple(_cell(cell) for cell in values)


def _cell(value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case tuple() | list():
            return ", ".join(map(str, value))
        case _:
            return str(value)


def _time(time: float | None) -> str | None:
    return None if time is None else iso_time(time)


def _account(snapshot: Snapshot, program: str, hide: Hiding) -> dict[str, object]:
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "program": program,
        "account": snapshot.account,
        "partition": snapshot.partition,
        "lab": snapshot.lab,
        "caller": hide.text(snapshot.caller),
        "at": iso_time(snapshot.at),
        "credential_report": _time(snapshot.report.made) if snapshot.report else None,
        "not_read": [
            {"part": part, "about": about or None, "why": why}
            for part, about, why in hide.order(
                (hole.part, hide.text(hole.about) if hole.about else "", hide.text(hole.why)) for hole in snapshot.holes
            )
        ],
        "frameworks": [
            {"id": framework.id, "version": framework.version, "source": framework.source, "read": framework.read}
            for framework in FRAMEWORKS.values()
        ],
    }


def _call_rows(calls: Sequence[ReadCall], hide: Hiding) -> list[Row]:
    return [_cells(call.operation, call.request_id, hide.text(call.user or "")) for call in calls]


def _device_rows(snapshot: Snapshot, calls: Sequence[ReadCall], keys: KeysOfDevices, hide: Hiding) -> list[Row]:
    """Return a row for each device, and a row for each user who has no device or whose devices are unknown."""
    asked: defaultdict[tuple[str, str | None], list[str]] = defaultdict(list)
    for call in calls:
        asked[call.operation, call.user].append(call.request_id)
    backups = {backup.serial: backup for backup in snapshot.backups}
    uses = LastUses(snapshot.usage or AccountUsage(), now=snapshot.at)
    return [
        row
        for user in account_users(snapshot)
        for row in _rows_of(user, snapshot, backups, asked, uses, keys=keys, hide=hide)
    ]


def _rows_of(
    user: AccountUser,
    snapshot: Snapshot,
    backups: Mapping[str, DeviceBackup],
    asked: Mapping[tuple[str, str | None], list[str]],
    uses: LastUses,
    *,
    keys: KeysOfDevices,
    hide: Hiding,
) -> Iterator[Row]:
    listed = user.name in snapshot.listed
    operation, about = (DEVICE_SOURCES[1], user.name) if listed else (DEVICE_SOURCES[0], None)
    if not user.devices:
        kind = "none" if user.mfa is False else "unknown"
        source = operation if listed else USER_SOURCES[1]
        requests = asked.get((source, about), ())
        yield _cells(
            hide.text(user.name), kind, *(None,) * 8, source, requests, *_key_cells(None, hide), *_cells(*(None,) * 4)
        )
    for device in user.devices:
        backup = backups.get(device.serial)
        reads = asked.get((KEY_SOURCE, user.name), []) if device.serial in snapshot.certified else []
        yield _cells(
            hide.text(user.name),
            device.type,
            hide.text(device.serial),
            _time(device.since),
            snapshot.certified.get(device.serial, ()),
            backup is not None,
            *(
                (_time(backup.made), backup.there, _time(backup.opened), _time(backup.drilled))
                if backup
                else (None,) * 4
            ),
            (operation, *([KEY_SOURCE] if reads else [])),
            (*asked.get((operation, about), ()), *reads),
            *_key_cells(keys.find(snapshot.account, replace(device, user=user.name)), hide),
            *_use_cells(uses.of(device, user_id=user.user.id), uses),
        )


def _key_cells(found: KeyOfDevice | None, hide: Hiding) -> Row:
    """Return the cells with what is known about the key that a device is on; all empty if the key is unknown."""
    if found is None:
        return _cells(*(None,) * (len(KEY_FACTS) + 2))
    facts = found.key.facts
    named = {"serial": hide.text(facts.serial or ""), "label": hide.text(facts.label or "")}
    known = (named.get(fact, getattr(facts, fact)) for fact in KEY_FACTS)
    return _cells(*known, sorted(facts.attested), found.device.erased)


def _use_cells(last: LastUse, uses: LastUses) -> Row:
    """Return the cells with the last use of a device; all empty if no events were read."""
    if not uses.is_known:
        return _cells(*(None,) * 4)
    return _cells(_time(last.at) or last.text, _time(last.unseen_since), last.from_files, uses.coverage)


def _finding_rows(
    snapshot: Snapshot, answers: Sequence[RuleAnswer], first_seen: Mapping[str, float], hide: Hiding
) -> list[Row]:
    counts = Counter[tuple[str, str]]()
    rows = []
    audited = [answer for answer in answers if answer.rule in RULES]
    for record in finding_records(snapshot, audited, first_seen):
        rule, subject = record.rule, hide.text(record.subject)
        # The ID of a finding is a hash. It is computed with the pseudonym, because a hash of the name would let a
        # reader test guesses of the name.
        key = hide.text(record.key)
        number = finding_id(record.account, rule.id, key, number=counts[rule.id, key])
        counts[rule.id, key] += 1
        rows.append(
            _cells(
                *(record.result, rule.id, rule.severity, subject, hide.text(record.evidence), number),
                *(hide.text(record.resource), record.references, _time(record.first_seen)),
            )
        )
    return rows


def _control_rows(answers: Sequence[RuleAnswer], hide: Hiding) -> list[Row]:
    return [
        _cells(
            framework.id,
            framework.version,
            control.control.id,
            control.control.title,
            control.result,
            control.control.rules,
            hide.text(control.why),
        )
        for framework in FRAMEWORKS.values()
        for control in answer_controls(framework, answers)
    ]


def _policies(snapshot: Snapshot, hide: Hiding) -> Iterator[tuple[Row, str, str]]:
    """For each policy in force that mentions MFA, except AWS's own, yield its row, the name of its file, and its text.

    For each state of access, the row has the number of lines with this state in the result of `policy lockout`.
    """
    policies = hide.order((hide.text(name), text) for name, _, text in policies_about_mfa(snapshot))
    for number, (name, text) in enumerate(policies, 1):
        file = f"policies/{number:03}.json"
        states = Counter(access.state for access in access_with(snapshot, text))
        row = _cells(name, file, *(states[state] for state in AccessState))
        yield row, file, hide.policy(text) + "\n"


def summary_letter(
    snapshot: Snapshot, answers: Sequence[RuleAnswer], files: Mapping[str, str], *, hide: Hiding
) -> Letter:
    """Return the summary of an export, a document of a page or two.

    `hide` replaces names with pseudonyms, or keeps the names.
    """
    people = account_users(snapshot)
    ways = Counter(user.sign_in_way for user in people if user.password)
    lab = " (LAB, nothing here is real)" if snapshot.lab else ""
    holes = hide.order(f"{hole.part}{f' of {hide.text(hole.about)}' if hole.about else ''}" for hole in snapshot.holes)
    unread = ", ".join(dict.fromkeys(holes))
    return Letter(
        title=f"Evidence of MFA in AWS account {snapshot.account}{lab}",
        paragraphs=(
            "This document summarizes the other files of this export. The signed manifest.json contains their hashes.",
        ),
        facts=(
            ("Read at", iso_time(snapshot.at)),
            ("Read by", hide.text(snapshot.caller)),
            ("Users", str(len(people))),
            *((("Not read", unread),) if unread else ()),
            ("Files", str(len(files))),
            *((f"Sign-in: {sign_in_way}", str(number)) for sign_in_way, number in ways.items()),
        ),
        sections=tuple(
            LetterSection(
                title=f"{framework.name} {framework.version}",
                paragraphs=tuple(_verdicts(answer_controls(framework, answers))),
            )
            for framework in FRAMEWORKS.values()
        ),
    )


def _verdicts(controls: Sequence[ControlAnswer]) -> Iterator[str]:
    """Yield the number of controls with each verdict, and then the IDs of the controls that fail or are unknown."""
    ids_by_result = {
        result: [answer.control.id for answer in controls if answer.result is result] for result in ControlResult
    }
    yield ", ".join(f"{len(ids)} {result}" for result, ids in ids_by_result.items() if ids)
    for result in (ControlResult.FAIL, ControlResult.UNKNOWN):
        if ids_by_result[result]:
            yield f"{result}: {', '.join(ids_by_result[result])}"

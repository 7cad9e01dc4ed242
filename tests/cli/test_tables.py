"""Every table fits a window of 80 columns, with realistic names, ARNs and paths."""

import ast
import dataclasses
from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from functools import cache
from pathlib import Path

import pytest

import mfa_kit
from mfa_kit.account.reconciling import Discrepancy
from mfa_kit.adapters.ledger.ledger import LogLine
from mfa_kit.api import BackupCheck, DeviceChange, UserDevice
from mfa_kit.cli import forms, messages
from mfa_kit.cli.key.list import NARROW as NARROW_KEYS
from mfa_kit.cli.output import Output
from mfa_kit.cli.rollout.handover import COLUMNS as HANDOVER
from mfa_kit.rollout.execution import COLUMNS

PACKAGE = Path(mfa_kit.__file__).parent
USER = "firstname.lastname@example.com"
ARN = f"arn:aws:iam::123456789012:mfa/{USER}"
RUN, AT = "20261125T011906Z-ddc94635", "2026-11-25T01:19:06Z"
FILE = f"/home/administrator/.local/share/mfa-kit/backups/123456789012/{USER}/{USER}-{RUN}.png.age"
SAID = "the device could not be enabled because IAM did not accept the codes of the phone"
COMMAND = "mfa-kit enroll USER --with virtual --codes generated"

# A row of each list, by the schema. A test compares the fields with those of the verb.
ROWS: dict[str, dict[str, object]] = {
    "status": {
        "user": USER, "kind": "hardware-totp", "device": ARN, "since": AT,
        "last_used": "no use seen since 2026-09-01 (from files)", "last_used_at": AT, "no_use_since": AT,
        "use_from_files": True, "uses_read": "read until 2026-11-30T16:50:53Z, 17 of 18 Regions",
        "made": "another desk", "backup": FILE, "drilled": AT, "drill_due": True,
        "certifications": ["FIDO_CERTIFIED_L1", "FIPS140-3-L2"],
    },
    "usage-update": {
        "region": "ap-southeast-2", "read_since": AT, "read_until": AT, "devices": 4999, "pages": 120, "why": SAID,
    },
    "status-key": {"account": "000000000000", "user": USER, "device": ARN, "since": AT, "recorded": AT},
    "key-recall": {
        "key": "31234567", "model": "YubiKey 5 Series with NFC", "firmware": "5.4.3", "user": USER,
        "account": "123456789012", "device": ARN, "advisory": ["YSA-2024-03", "YSA-2025-02"], "verdict": "not listed",
        "attested": ["aaguid", "model"], "what": [SAID, SAID], "source": [FILE, FILE],
    },
    "rollout-plan-user": {
        "user": USER,
        "before": ["alice", "office-key-of-alice"],
        "after": ["alice", "office-key-of-alice", "alice.of.the.long.name-key", "alice.of.the.long.name-key-2"],
    },
    "rollout-status": {
        "user": USER, "outcome": "not started", "cause": "no public key", "reason": SAID, "device": ARN,
        "backup": FILE, "user_backup": FILE, "admin_backup": FILE, "run": RUN, "name": "alice.of.the.long.name-key",
    },
    "recipients-fetch": {
        "user": USER, "name": "firstname-lastname", "state": "unchanged",
        "recipient_fingerprint": "SHA256:IIJHIJLM1vgt3obU8fVzq+TfKwxfFz8dSZ3mqkgO5Nw",
        "recipient_source": "https://github.example.com/firstname-lastname.keys", "notes": [SAID],
    },
    "rollout-remind": {
        "user": USER, "email": USER, "waiting_for": "proof", "since": AT, "days": 120, "device": ARN, "file": FILE,
    },
    "rollout-handover": {
        "user": USER, "email": USER, "file": FILE, "letter": FILE, "device": ARN, "state": "enrolled",
    },
    "rollout-post": {
        "user": USER, "name": "alice.of.the.long.name-key", "email": USER, "device": ARN, "key": "31234567",
        "state": "prepared", "letter": FILE,
    },
    "help": {"topic": "compared-with-the-aws-cli", "heading": "When the AWS CLI is the better tool"},
    "doctor": {"check": "credentials", "state": "bad", "found": f"arn:aws:iam::123456789012:user/{USER}", "hint": SAID},
    "orphans-list": {
        "device": ARN, "standing": "of another desk", "user": USER, "since": AT, "run": RUN, "key": "31234567",
        "clean": "removes it",
    },
    "orphans-clean": {"device": ARN, "ended": "removed", "why": SAID},
    "ledger": {
        "at": AT, "what": "CreateVirtualMFADevice", "answer": "ConcurrentModification", "user": USER, "device": ARN,
        "file": FILE, "reference": "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "computer": None,
    },
    "ledger-reconcile": {
        "difference": "device is not in the ledger", "user": USER, "device": ARN, "run": RUN, "file": FILE,
        "detail": SAID,
    },
    "backup-list": {
        "account": "123456789012", "user": USER, "device": USER, "made": AT, "file": FILE, "copy": "user",
    },
    "backup-verify": {
        "file": FILE, "opens": False, "label": f"Amazon Web Services:{USER}@123456789012",
        "remarks": ["hash not recorded"], "fault": SAID,
    },
    "backup-prune": {"outcome": "removed", "user": USER, "device": USER, "why": SAID, "file": FILE, "fault": None},
    "backup-exposed": {
        "account": "123456789012", "user": USER, "device": USER, "since": AT, "until": AT, "recorded": True,
        "file": FILE,
    },
    "backup-recipients": {
        "account": "123456789012", "user": USER, "device": USER, "made": AT, "recipients": ["age1" + "q" * 58] * 2,
    },
    "backup-drill": {"file": FILE, "result": "differs", "fault": SAID},
    "policy-lint": {
        "policy": f"arn:aws:iam::123456789012:policy/{USER}", "statement": "DenyAllExceptListedIfNoMFA",
        "trap": "missing-if-exists", "what": SAID, "instead": SAID,
    },
    "policy-lockout": {"user": USER, "way": "access key AKIAIOSFODNN7EXAMPLE", "standing": "locked out", "why": SAID,
        "first": COMMAND},
    "token-list": {
        "serial": "2308524500123", "make": "Feitian OTP c200", "type": "TOTP, 6 digits, 30 s", "verdict": "rejected",
        "offset_s": -120, "read": AT, "aws": "no", "why": SAID, "user": USER,
    },
    "token-accept": {
        "serial": "2308524500123", "type": "TOTP, 6 digits, 30 s", "verdict": "rejected", "offset_steps": -4,
        "offset_s": -120, "read": AT, "reason": SAID,
    },
    "token-import": {"where": "line 12, token 2308524500123", "reason": SAID},
    "key-list": {
        "key": "YubiKey 5C NFC FIPS", "serial": "31234567", "firmware": "5.7.1", "transports": ["usb", "nfc"],
        "where": "Yubico YubiKey OTP+FIDO+CCID 00 00", "fido_versions": ["U2F_V2", "FIDO_2_0", "FIDO_2_1"],
        "fido_aaguid": "c1f9a0bc-1dd2-404a-b27f-8e29047a43fd", "fido_pin": True, "oath_used": 3,
        "oath_free": 29, "oath_password": False,
    },
    "key-metadata": {
        "name": "YubiKey 5 FIPS Series with Lightning Preview", "aaguid": "c1f9a0bc-1dd2-404a-b27f-8e29047a43fd",
        "version": 328965, "status": ["FIPS140_CERTIFIED_L2", "FIDO_CERTIFIED_L1"], "attestation": ["basic_full"],
        "roots": 3,
    },
    "break-glass-plan": {"file": "set-001-alice.van.der.berg-bob.age", "custodians": [USER, "bob"], "octets": 920},
    "verify-fido2": {"check": "attestation chain", "result": "FAIL", "detail": SAID, "source": "WebAuthn L3, 6.5.2"},
    "verify-token-find": {"serial": "2308524500123", "clock": SAID, "offset_steps": -4, "offset_s": -120},
}  # fmt: skip
# The additional fields of a row if computers share the ledger, or if a backup is missing.
COMPUTER, KEY = "desk-07.berlin.example.com", "YubiKey 5 Series with Lightning 12345678 (was reset)"
SHARED: dict[str, dict[str, object]] = {
    **{
        name: {"computer": COMPUTER}
        for name in ("ledger", "token-list", "rollout-status", "backup-recipients", "backup-exposed")
    },
    "status": {"key": KEY, "computer": COMPUTER, "drilled_on": COMPUTER},
    "status-key": {"key": KEY},
    "key-list": {"users": [USER], "computers": [COMPUTER]},
    "backup-list": {"state": "missing"},
}
# Lists whose rows have the fields of a value, and not of a literal in the verb's folder.
OF_VALUES = {
    "ledger-reconcile": tuple(each.name for each in dataclasses.fields(Discrepancy)),
    "rollout-status": COLUMNS,
    "backup-verify": tuple(each.name for each in dataclasses.fields(BackupCheck)),
    # The fields of the key, and of the computers that share a ledger, are in SHARED.
    "status": tuple(
        each.name
        for each in dataclasses.fields(UserDevice)
        if not each.name.startswith("key") and each.name not in SHARED["status"]
    ),
    "rollout-handover": HANDOVER,
    "rollout-plan-user": tuple(each.name for each in dataclasses.fields(DeviceChange)),
    "ledger": tuple(each.name for each in dataclasses.fields(LogLine)),
    # The table leaves out `already`.
    "policy-lockout": ("user", "way", "standing", "why", "first"),
}
# A list whose table is made by the verb, or that has no table.
NO_TABLE = {"audit-control", "audit-finding", "policy-offboard", "policy-onboard"}
# Lists for many accounts, whose tables tests/organization prints from a real run.
OF_ACCOUNTS = {"audit-account", "rollout-plan-account"}


def _columns(node: ast.expr) -> tuple[str, ...]:
    """Return the literal, the constant of the only verb that has one, or the names in a call of `narrow`."""
    if isinstance(node, ast.Call):
        return tuple(str(name.value) for name in node.args if isinstance(name, ast.Constant))
    return NARROW_KEYS if isinstance(node, ast.Name) else ast.literal_eval(node)


def lists() -> Iterator[tuple[str, tuple[str, ...], Path]]:
    """Yield each schema that a verb prints as a list, the verb's columns for narrow windows, and its folder."""
    for file in sorted(PACKAGE.glob("cli/**/*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(attr="many") | ast.Name(id="RowsForm"),
                    args=[ast.Constant(value=str(schema)), *_],
                ):
                    named = [_columns(each.value) for each in node.keywords if each.arg == "narrow"]
                    yield schema, max(named, key=len, default=()), file.parent
                case _:
                    pass


@cache
def literals(folder: Path) -> set[tuple[str, ...]]:
    """Return the names in each literal mapping in the files of a folder, without what `**` adds to it.

    If the mapping is the beginning of a row, each call that passes the row's other columns by name is also one.
    """
    names = set()
    for file in folder.glob("*.py"):
        nodes = list(ast.walk(ast.parse(file.read_text("utf-8"))))
        names |= {_keys(node) for node in nodes if isinstance(node, ast.Dict)}
        begins = [node for node in nodes if isinstance(node, ast.FunctionDef) and node.args.kwarg]
        for function in begins:
            begin = next((_keys(node) for node in ast.walk(function) if isinstance(node, ast.Dict)), ())
            names |= {
                (*begin, *(str(keyword.arg) for keyword in node.keywords))
                for node in nodes
                if isinstance(node, ast.Call) and ast.unparse(node.func) == function.name
            }
    return names


def _keys(node: ast.Dict) -> tuple[str, ...]:
    return tuple(str(key.value) for key in node.keys if isinstance(key, ast.Constant))


def consists_of(names: tuple[str, ...], parts: AbstractSet[tuple[str, ...]]) -> bool:
    """Return whether a row is one of these literals, or several with three or more names, one after another."""
    return names in parts or any(
        names[:at] in parts and consists_of(names[at:], parts) for at in range(3, len(names) - 2)
    )


LISTS = list(lists())
NARROW = {schema: narrow for schema, narrow, _ in sorted(LISTS, key=lambda each: len(each[1]))}
FOLDERS = {schema: folder for schema, _, folder in LISTS}


@pytest.mark.parametrize(
    ("schema", "row"), [*ROWS.items(), *((name, {**ROWS[name], **more}) for name, more in SHARED.items())]
)
def test_every_table_fits_80_columns(
    schema: str, row: dict[str, object], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line has the names of the columns, and the table does not become a list of fields."""
    monkeypatch.setattr(forms, "output_width", lambda: 80)
    Output("table").many(schema, [row, row], empty="", narrow=NARROW[schema])  # type: ignore[list-item]
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].startswith((NARROW[schema] or [*row])[0].upper())
    assert len(lines[0].split("  ")) > 2


@pytest.mark.parametrize("schema", ROWS)
def test_the_rows_here_have_the_fields_of_the_verb(schema: str) -> None:
    """A new, renamed or removed field has to be changed here too, so that the width of its table is tested."""
    names = tuple(ROWS[schema])
    if schema in OF_VALUES:
        assert names == OF_VALUES[schema]
    else:
        assert consists_of(names, literals(FOLDERS[schema]))
    assert {*NARROW[schema]} <= {*names, *SHARED.get(schema, ())}


def test_every_list_has_a_row_here() -> None:
    """A new list needs a row here, so that the width of its table is tested."""
    assert {*NARROW} - NO_TABLE - OF_ACCOUNTS == {*ROWS}


@pytest.mark.parametrize("wide", [True, False])
def test_wide_shows_everything(wide: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without --wide, names replace ARNs and paths."""
    monkeypatch.setattr(forms, "output_width", lambda: 80)
    row = ROWS["backup-list"]
    Output("table", wide=wide).many("backup-list", [row], empty="")  # type: ignore[list-item]
    assert (FILE in capsys.readouterr().out) is wide


def test_prose_is_wrapped_at_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """The lines of an audit's findings are wrapped; only a command at the end of a line stays whole."""
    monkeypatch.setattr(forms, "output_width", lambda: 80)
    line = f"    {USER}: {SAID}, and {SAID}"
    Output("table").prose("short", line)
    short, *lines = capsys.readouterr().out.splitlines()
    assert short == "short"
    assert max(map(len, lines)) <= 80
    assert [each[: len(each) - len(each.lstrip())] for each in lines] == [" " * 4, *[" " * 6] * (len(lines) - 1)]
    assert " ".join(map(str.strip, lines)) == line.strip()


def test_messages_are_wrapped_on_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first line of a command names the account and the caller."""
    monkeypatch.setattr(messages, "window_width", lambda _: 80)
    messages.StderrProgress().note(f"account 123456789012 (LAB, nothing here is real) as {ARN}")
    assert max(map(len, capsys.readouterr().err.splitlines())) <= 80

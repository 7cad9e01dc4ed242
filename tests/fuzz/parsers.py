"""The parsers of foreign data, each with real samples. A parser may raise MfaKitError, which has its own exit code."""

import atexit
import json
import os
import shutil
import sqlite3
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyrage
from fido2 import cbor
from fido2.webauthn import AttestationObject

from mfa_kit.account.evaluator import statements
from mfa_kit.account.snapshot import CredentialReport, Entity, Snapshot
from mfa_kit.adapters.aws.account import AccountReader
from mfa_kit.adapters.fido.key import registration_of
from mfa_kit.adapters.fido.links import GARBLED
from mfa_kit.adapters.files import identities, picture, rollout_files, snapshots
from mfa_kit.adapters.files.accounts_file import accounts_text
from mfa_kit.adapters.files.agefile import open_backup
from mfa_kit.adapters.files.layers import RecoveryIdentity, open_layers
from mfa_kit.adapters.ledger.records import BackupRecords
from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.adapters.ledger.token_inventory import TokenInventory
from mfa_kit.adapters.metadata import index
from mfa_kit.adapters.metadata.index import build_index
from mfa_kit.adapters.seedfiles import files
from mfa_kit.break_glass.custodians import Custodian, Group, Manifest, parse_manifest
from mfa_kit.core.errors import DeviceFault, UsageFault
from mfa_kit.core.letter import parse_template
from mfa_kit.core.models import Device
from mfa_kit.core.otp import KeyUri, Png, Secret, Seed
from mfa_kit.lab.aws.account import LabAccount
from mfa_kit.lab.aws.builder import build_account, build_organization
from mfa_kit.lab.aws.description import read_description
from mfa_kit.lab.aws.faults import read_rules
from mfa_kit.lab.aws.mfa_devices import LabSettings
from mfa_kit.lab.aws.organization import FULL_ACCESS_DOCUMENT
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.aws.state import describe_lab
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.securitykey import lab_key
from mfa_kit.organization.accounts import OrgAccount
from mfa_kit.organization.accounts_file import accounts_document
from mfa_kit.policy.lint import find_traps
from mfa_kit.qr_codes import key_uri, reading, symbol
from mfa_kit.rollout.handover_letter import NAMES
from mfa_kit.rollout.plan import PlannedAccount, RolloutIndex, UnplannedAccount
from mfa_kit.rollout.plan_files import index_text, parse_index, parse_plan
from mfa_kit.security_keys.key_policy import parse_policy
from mfa_kit.wiring import settings
from mfa_kit.wiring.files import packaged_text, read_advisories
from mfa_kit.wiring.methods.registry import METHODS
from mfa_kit.wiring.organization import read_accounts_file
from mfa_kit.wiring.rollout import parse_public_key, read_all, read_proof_lines, read_roster
from tests.fido.test_policy import WHOLE
from tests.ground.test_authenticator_export import ALICE, PLUS, TWO, WORDS
from tests.tokens import boxes
from tests.tokens.test_other_formats import SAFEWORD, graph, token

NOW = 1_800_000_000.0
OLD = Path(__file__).parents[1] / "data" / "c7f9663"
FOLDER = Path(tempfile.mkdtemp(prefix="mfa-kit-fuzz-", dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
atexit.register(shutil.rmtree, FOLDER, ignore_errors=True)
URI = key_uri.otpauth(Seed(bytes(range(40))), label="alice@000000000000")
TOTP = [boxes.Made(f"100{at}", period=30 + 30 * (at % 2)) for at in range(2)]
EVENTS = [boxes.Made(f"200{at}", factor="hotp", counter=at) for at in range(2)]
SLOTS = [boxes.Made(f"cccccccccc{at}:1", factor="hotp") for at in "bc"]


@dataclass(frozen=True, slots=True)
class Parser:
    """A parser of octets, and a function that returns its samples."""

    read: Callable[[bytes], object]
    samples: Callable[[], Sequence[bytes]]


def written(content: bytes, name: str = "sample") -> Path:
    """Write a file that only its owner can read, as mfa-kit requires for some files."""
    path = FOLDER / name
    path.write_bytes(content)
    path.chmod(0o600)
    return path


def text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    """Return a parser of text for octets. Octets that are not UTF-8 become lone surrogates."""
    return lambda content: read(content.decode("utf-8", "surrogateescape"))


def read_seeds(content: bytes) -> object:
    return boxes.read(content, now=NOW)


@cache
def maker() -> AttestationCa:
    return AttestationCa(now=NOW)


def metadata_entries() -> list[dict[str, Any]]:
    return [
        maker().entry("m", aaguid="d7781e5d-e353-46aa-afe2-3ca49f13332a"),
        maker().entry("n", identifiers=["a" * 40]),
    ]


def read_blob(content: bytes) -> object:
    return index.verified_payload(content, maker().root.der, site=None, time=NOW)


def read_payload(content: bytes) -> object:
    """Build the index of an unsigned payload, and look everything up in it."""
    with closing(build_index(":memory:", index.packaged_payload(content), None, name="m")) as models:
        return models.execute("select * from model").fetchall()


def payloads() -> list[bytes]:
    whole = {"no": 7, "nextUpdate": "2100-01-01", "legalHeader": "x", "entries": metadata_entries()}
    return [json.dumps(whole).encode()]


class Touched:
    """A user who touches the key at once."""

    def wait(self) -> None:
        """Return at once."""

    def ready(self) -> bool:
        return True


def attestations() -> list[bytes]:
    """Return the statements of a simulated key, as CTAP 2 sends them."""
    key = lab_key(maker())
    options = {
        1: bytes(32),
        2: {"id": "example.org"},
        3: {"id": b"u", "name": "u"},
        4: [{"alg": -7, "type": "public-key"}],
    }
    found: Any = cbor.decode(key.cbor(b"\x01" + cbor.encode(options), Touched())[1:])
    return [cbor.encode({"fmt": found[1], "authData": found[2], "attStmt": found[3]})]


def read_attestation(content: bytes) -> object:
    """Parse a statement as the adapter for security keys does."""
    try:
        return registration_of(AttestationObject(content), bytes(32))
    except GARBLED:
        raise DeviceFault("the key answers nonsense", "try another key") from None


def read_config(content: bytes) -> object:
    os.environ["MFA_KIT_HOME"] = str(written(content, "config.toml").parent)
    return settings.load_config()


def read_ledger(content: bytes) -> object:
    """Read everything in a ledger, after removing the previous ledger and its side files."""
    home = FOLDER / "home"
    home.mkdir(mode=0o700, exist_ok=True)
    for old in home.iterdir():
        if old.is_file():
            old.unlink()
    (home / "ledger.sqlite").write_bytes(content)
    (home / "ledger.sqlite").chmod(0o600)
    with sqlite_ledger(home, clock=lambda: NOW) as ledger:
        backups, tokens = BackupRecords(ledger, now=NOW), TokenInventory(ledger, now=NOW)
        made = [*ledger.made("000000000000"), *ledger.dead("000000000000")]
        return (
            made,
            ledger.history(),
            backups.seals(),
            backups.hashes(),
            backups.users(),
            backups.drills(),
            backups.last_opened(),
            tokens.tokens(),
            tokens.last_sightings(),
        )


def ledgers() -> list[bytes]:
    """Return a ledger of an older version, and the same after it was opened."""
    content = (OLD / "home" / "ledger.sqlite").read_bytes()
    read_ledger(content)
    with closing(sqlite3.connect(FOLDER / "home" / "ledger.sqlite")) as db:
        db.execute("pragma journal_mode = delete")
    return [content, (FOLDER / "home" / "ledger.sqlite").read_bytes()]


def read_report(content: bytes) -> CredentialReport:
    """Read a credential report as IAM returns it."""
    at = SimpleNamespace(timestamp=lambda: NOW)
    client = SimpleNamespace(get_credential_report=lambda: {"Content": content, "GeneratedTime": at})
    return AccountReader(lambda call: call(client), now=lambda: NOW).report(max_age=1.0)


def reports() -> list[bytes]:
    columns = ("user,arn,user_creation_time,password_enabled,password_last_used,password_last_changed,"
               "password_next_rotation,mfa_active,access_key_1_active,access_key_1_last_rotated,"
               "access_key_1_last_used_date,access_key_1_last_used_region,access_key_1_last_used_service,"
               "access_key_2_active,access_key_2_last_rotated,access_key_2_last_used_date,"
               "access_key_2_last_used_region,access_key_2_last_used_service,cert_1_active,cert_1_last_rotated,"
               "cert_2_active,cert_2_last_rotated")  # fmt: skip
    at = "2015-03-07T05:14:03+00:00"
    rest = f"{at},true,no_information,{at},N/A,false,true,{at},N/A,us-east-1,iam,false{',N/A' * 4},false,N/A,false,N/A"
    rows = [f"{name},arn:aws:iam::111122223333:{arn},{rest}" for name, arn in
            (("<root_account>", "root"), ("ada", "user/ada"), ("bob", "user/x/bob"))]  # fmt: skip
    return ["\n".join([columns, *rows]).encode()]


@cache
def own_identity() -> pyrage.x25519.Identity:
    return pyrage.x25519.Identity.generate()


def backups() -> list[bytes]:
    """Return a backup, binary and armored."""
    picture_of_it, to = symbol.png(URI).reveal(), [own_identity().to_public()]
    return [pyrage.encrypt(picture_of_it, to), pyrage.encrypt(picture_of_it, to, armored=True)]


def private_keys() -> list[bytes]:
    """Return private keys: identities of age with and without a passphrase, and SSH keys in both formats."""
    made = [f"# created\n{own_identity()}\n".encode(), (OLD / "ssh").read_bytes()]
    made += [pyrage.passphrase.encrypt(made[0], "correct horse", armored=armored) for armored in (False, True)]
    for kind in ("ed25519", "rsa"):
        file = FOLDER / f"key-{kind}"
        file.unlink(missing_ok=True)
        form = ["-b", "2048", "-m", "PEM"] if kind == "rsa" else []
        subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(file), *form], check=True)
        made.append(file.read_bytes())
    return made


def read_private_keys(content: bytes) -> object:
    def ask(_: Path) -> Secret[str]:
        raise UsageFault("a passphrase was asked for", "type it")

    return identities.read_identities([written(content)], ask)


def public_keys() -> list[bytes]:
    private_keys()
    keys = [(FOLDER / f"key-{kind}.pub").read_bytes() for kind in ("ed25519", "rsa")]
    age = str(own_identity().to_public()).encode()
    return [age, *keys, b"# recipients\n" + b"".join(keys) + age, (OLD / "ssh.pub").read_bytes()]


def rosters() -> list[bytes]:
    columns = "user,kind,device_name,path,recipient,serial,asset,tags,email\n"
    key = own_identity().to_public()
    rows = f"ada,virtual,a1,/x/,{key},,K 12,team=a;cost=1\n"
    rows += "arn:aws:iam::000000000000:user/bob,hardware-totp,,,,GAHT12345678,,\n"
    users = [{"UserName": "ada", "Path": "/", "Arn": "arn:aws:iam::000000000000:user/ada"}]
    lines = '{"user": "ada", "tags": {"team": "a"}}\n{"user": "bob", "recipient": null}\n'
    return [
        (columns + rows).encode(),
        ("sep=;\r\n" + (columns + rows).replace(",", ";")).encode("utf-16"),
        lines.encode(),
        json.dumps({"Users": users}, indent=1).encode(),
        json.dumps(users).encode(),
        reports()[0],
    ]


def proofs() -> list[bytes]:
    """Return a file of proofs with a header, and one without."""
    headed = "user,code1,code2,time\nada,123456,234567,2026-11-26T09:32:10+01:00\nbob,123 456,,2026-11-26 08:32Z\n"
    return [headed.encode(), b"ada;123456;234567;2026-11-26T09:32Z\nbob;123456;234567\n"]


def key_files() -> list[bytes]:
    """Return a file of names and keys, as `recipients fetch --from` reads it."""
    return [b"".join(b"ada " + key.splitlines()[-1] + b"\n" for key in public_keys())]


def read_accounts(name: str) -> Callable[[bytes], object]:
    """Return a parser of files of accounts. The end of the name says whether the file is JSON only."""
    return lambda content: read_accounts_file(written(content, name))


def account_files() -> list[bytes]:
    """Return a file of accounts with each key, as YAML with an anchor and as JSON."""
    text_of_it = """vars: {team: web, since: 2026-11-26}
accounts:
- &first
  account_id: "000000000001"
  name: dev
  role: [arn:aws:iam::000000000002:role/hub, arn:aws:iam::000000000001:role/mfa-kit-audit]
  external_id: x-1
  tags: [env:dev]
- {account_id: '000000000002', profile: prod, regions: [us-east-1], vars: {level: 2.5}}
- {<<: *first, account_id: "000000000003", role: mfa-kit-audit}
"""
    return [text_of_it.encode(), accounts_text(accounts_document(accounts_of(text_of_it), partition="aws"))]


def accounts_of(text_of_it: str) -> Sequence[OrgAccount]:
    return read_accounts_file(written(text_of_it.encode(), "accounts.yml"))


def read_plan(content: bytes) -> object:
    text_of_it = rollout_files.read_text(written(content))
    return parse_plan(text_of_it, methods=METHODS.in_rosters(), parse_key=parse_public_key)


def read_index(content: bytes) -> object:
    return parse_index(rollout_files.read_text(written(content)))


def indexes() -> list[bytes]:
    counts = dict.fromkeys(("enroll", "bench", "self", "staged", "skip", "blocked"), 1)
    planned = PlannedAccount(
        id="0" * 12, name="hub", plan=f"i-plans/{'0' * 12}-{'0' * 8}.json", sha256="0" * 64, counts=counts
    )
    unplanned = UnplannedAccount(id="1" * 12, name="", why="denied")
    whole = RolloutIndex(by="arn", planned_at=1.5e9, accounts=[planned], unplanned=[unplanned])
    return [index_text(whole).encode(), index_text(replace(whole, accounts=[], unplanned=[])).encode()]


def manifests() -> list[bytes]:
    """Return manifests of break-glass identities, with keys of age and SSH."""
    keys = [" ".join(key.decode().split()[:2]) for key in public_keys()]
    custodians = tuple(Custodian(f"c{at}", key) for at, key in enumerate(dict.fromkeys(keys)))
    group = Group(len(custodians) - 1, custodians[:-1])
    whole = Manifest(recipient="age1x", made=1.5e9, group=group, former=custodians[-1:], replaces="age1y")
    others = (replace(whole, former=(), replaces=None), replace(whole, hmac="0a" * 32))
    return [manifest.text().encode() for manifest in (whole, *others)]


@cache
def recovery_key() -> RecoveryIdentity:
    return RecoveryIdentity.new()


def layers() -> list[bytes]:
    """Return the file of a set with two layers, both for the same key."""
    return [recovery_key().sealed([str(own_identity().to_public())] * 2)]


def read_layers(content: bytes) -> object:
    return open_layers(content, [Secret([own_identity()])] * 2, recipient=recovery_key().recipient, where="x")


def read_account(content: bytes) -> object:
    account = LabAccount(region="us-east-1", settings=LabSettings())
    account.add_admin()
    build_account(account, read_description(written(content, "account.json")))
    return account


def read_organization(content: bytes) -> object:
    found = read_description(written(content, "account.json"))
    account = LabAccount(region="us-east-1", settings=LabSettings())
    return build_organization(account, found.get("organization", {}))


def organizations() -> list[bytes]:
    """Return the description of a small organization."""
    lab = Lab(accounts=2, users_per_account=1)
    lab.server.server_close()
    lab.organization.attach("guard", FULL_ACCESS_DOCUMENT, "000000000001")
    return [json.dumps(describe_lab(lab.organization)).encode()]


def pictures() -> list[bytes]:
    """Return a QR code as a picture in the forms that people send."""
    from PIL import Image  # noqa: PLC0415 - beside its use

    made = [symbol.png(URI).reveal()]
    with Image.open(written(made[0])) as page:
        for form in ("JPEG", "WEBP", "BMP", "GIF", "TIFF"):
            page.convert("RGB").save(FOLDER / "picture", form)
            made.append((FOLDER / "picture").read_bytes())
    return made


def key_uris() -> list[bytes]:
    name_in_iam = (
        "otpauth://totp/A%20B:al%40x?secret=jbsw y3dp-ehpk3pxp&issuer=A&algorithm=HMAC-SHA1&digits=6&period=30"
    )
    counted = "otpauth://hotp/A:b?secret=JBSWY3DPEHPK3PXP&counter=18446744073709551615"
    return [URI.reveal().encode(), name_in_iam.encode(), counted.encode()]


def exports() -> list[bytes]:
    return [f"otpauth-migration://offline?data={each}".encode() for each in (ALICE, PLUS, TWO, WORDS)]


POLICIES = [
    {"Sid": "A", "Effect": "Deny", "NotAction": ["iam:*Mfa*", "sts:GetSessionToken"], "Resource": "*",
     "Condition": {"BoolIfExists": {"aws:MultiFactorAuthPresent": "false"}, "NumericLessThan": {"aws:x": 5}}},
    {"Effect": "Allow", "Principal": {"AWS": ["*"]}, "Action": "iam:*", "Resource": "arn:aws:iam::*:user/${aws:x}"},
]  # fmt: skip


def taken_snapshots() -> list[bytes]:
    """Return a snapshot with a report, users, devices and policies, as `audit --snapshot` writes it."""
    arn = "arn:aws:iam::111122223333"
    user = Entity(name="ada", arn=f"{arn}:user/ada", created=NOW, inline={"p": json.dumps(POLICIES)}, groups=("g",))
    device = Device(serial=f"{arn}:mfa/ada", user="ada", since=NOW)
    snapshot = Snapshot(
        at=NOW,
        account="111122223333",
        caller=f"{arn}:user/ada",
        report=read_report(reports()[0]),
        summary={"AccountMFAEnabled": 1},
        users=(user,),
        groups=(Entity(name="g", arn=f"{arn}:group/g", attached=("arn:aws:iam::aws:policy/X",)),),
        policies={"arn:aws:iam::aws:policy/X": json.dumps(POLICIES)},
        virtual=(device,),
        listed={"ada": (device,)},
        must_change={"ada": False},
        root_devices=(),
    )
    (file := FOLDER / "snapshot.json").unlink(missing_ok=True)
    snapshots.write_snapshot(snapshot, file)
    return [file.read_bytes()]


PARSERS = {
    "accounts files": Parser(read_accounts("accounts.yml"), account_files),
    "accounts files in JSON": Parser(read_accounts("accounts.json"), lambda: account_files()[1:]),
    "key URIs": Parser(text(lambda uri: key_uri.parse(KeyUri(uri))), key_uris),
    "authenticator exports": Parser(text(lambda uri: reading.read_export(KeyUri(uri))), exports),
    "PSKC": Parser(
        read_seeds,
        lambda: [boxes.pskc(TOTP + EVENTS), boxes.pskc(TOTP, how="pre-shared key"), boxes.privacyidea(TOTP + EVENTS)],
    ),
    "SafeNet XML": Parser(read_seeds, lambda: [boxes.safenet(EVENTS)]),
    "seed tables": Parser(read_seeds, lambda: [boxes.entra(TOTP), boxes.linotp(TOTP + EVENTS), SAFEWORD]),
    "Yubico logs": Parser(read_seeds, lambda: [boxes.yubico(SLOTS), boxes.yubico_short(EVENTS)]),
    "lists of key URIs": Parser(read_seeds, lambda: [boxes.uris(TOTP + EVENTS)]),
    "JSON of tokens": Parser(read_seeds, lambda: [graph(token("T1"), token("T2", hashFunction="hmacsha256"))]),
    "readings": Parser(
        lambda content: files.read_written(files.decode_text(content), now=NOW),
        lambda: [b"serial,code,second,time\n1000,123456,234567,2026-01-02T03:04:05\n1002,654321\n"],
    ),
    "pictures of users": Parser(
        lambda content: reading.read_accounts(picture.load_image(written(content)).picture), pictures
    ),
    "pictures of IAM and backups": Parser(
        lambda content: reading.read_device(Png(content)), lambda: [symbol.png(URI, caption="a\nb").reveal()]
    ),
    "rosters": Parser(lambda content: read_roster(written(content)), rosters),
    "proofs": Parser(lambda content: read_proof_lines(written(content)), proofs),
    "templates of letters": Parser(
        lambda content: parse_template(content.decode("utf-8", "replace"), names=NAMES, source="x").fill(
            dict.fromkeys(NAMES, "y")
        ),
        lambda: [packaged_text("rollout/handover_letter.md").encode()],
    ),
    "files of keys": Parser(lambda content: read_all(written(content)), key_files),
    "indexes of plans": Parser(read_index, indexes),
    "manifests of break-glass identities": Parser(lambda content: parse_manifest(content, where="x"), manifests),
    "layers of break-glass identities": Parser(read_layers, layers),
    "plans": Parser(read_plan, lambda: [(OLD / "plan.json").read_bytes()]),
    "recipients": Parser(text(lambda key: identities.parse_recipients([key])), public_keys),
    "files of recipients": Parser(lambda content: identities.parse_recipients([], [written(content)]), public_keys),
    "identities": Parser(read_private_keys, private_keys),
    "backups": Parser(lambda content: open_backup(written(content), Secret([own_identity()])), backups),
    "metadata BLOB": Parser(read_blob, lambda: [maker().blob(metadata_entries(), next_update=date(2100, 1, 1))]),
    "metadata payload": Parser(read_payload, payloads),
    "attestation": Parser(read_attestation, attestations),
    "policies of security keys": Parser(text(parse_policy), lambda: [WHOLE.encode()]),
    "advisories": Parser(
        lambda content: read_advisories(written(content)), lambda: [packaged_text("core/advisories.toml").encode()]
    ),
    "config.toml": Parser(
        read_config,
        lambda: [b'account = "000000000000"\nplain = true\nrecipients = ["age1x", "age1y"]\n'],
    ),
    "ledger": Parser(read_ledger, ledgers),
    "credential report": Parser(read_report, reports),
    "IAM policies": Parser(
        text(lambda policy: (statements(policy), find_traps(policy))),
        lambda: [json.dumps({"Version": "2012-10-17", "Statement": POLICIES}).encode()],
    ),
    "lab's account": Parser(read_account, lambda: [(OLD / "account.json").read_bytes()]),
    "lab's organization": Parser(read_organization, organizations),
    "lab's rules": Parser(
        lambda content: read_rules(written(content, "rules.json")),
        lambda: [b'[{"operation": "EnableMFADevice", "error": "Throttling", "times": 2}]'],
    ),
    "snapshots": Parser(lambda content: snapshots.read_snapshot(written(content)), taken_snapshots),
}

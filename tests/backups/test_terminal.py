"""Backups at a terminal: add a picture, move a secret to a new phone, test phones, change a passphrase."""

import base64
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import boto3
import pyotp
import pyrage
import pytest
import qrcode
from PIL import Image

from mfa_kit.adapters.ledger.sqlite_database import sqlite_ledger
from mfa_kit.core.models import DeviceSpec, JournalEntry, JournalState, RunKind
from mfa_kit.core.otp import Png, Seed
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri, symbol
from tests import age_plugin_demo as demo
from tests.backups.test_age_plugins import program_in
from tests.conftest import ACCOUNT, judge
from tests.terminal.conftest import environment
from tests.terminal.spawn import MFA_KIT, run
from tests.terminal.window import DARK, Window, picture, read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

NUMBERS = count()
PLACES = pytest.mark.parametrize("place", ["folder", "bucket"])
SEED = bytes(range(40))
SERIAL = f"arn:aws:iam::{ACCOUNT}:mfa/alice"


@pytest.fixture
def lab() -> Iterator[Lab]:
    with Lab(users=("alice",)) as lab:
        yield lab


def client_of(lab: Lab, service: str) -> Any:
    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=lab.url,
        region_name="us-east-1",
        aws_access_key_id=lab.admin.access_key_id,
        aws_secret_access_key=lab.admin.secret_access_key,
    )


class Desk:
    """A desk with a terminal, an identity and its recipient."""

    def __init__(self, lab: Lab, folder: Path) -> None:
        self.lab, self.folder, self.env = lab, folder, environment(lab, folder)
        self.home = folder / "home"
        subprocess.run([judge("age-keygen"), "-o", folder / "id.txt"], check=True, capture_output=True)
        self.recipient = self.age_keygen(folder / "id.txt")

    @staticmethod
    def age_keygen(file: Path) -> str:
        done = subprocess.run(["age-keygen", "-y", file], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    def window(self, *words: str) -> Window:
        return Window([*MFA_KIT, *words], env=self.env, cwd=self.folder)

    def run(self, *words: str | Path, fork: bool = True) -> subprocess.CompletedProcess[str]:
        return run([*MFA_KIT, *map(str, words)], env=self.env, cwd=self.folder, fork=fork)

    def enroll(self, seal: bool = True) -> Path:
        """Give alice a device whose secret is only in the backup. With seal=False, the backup is then deleted."""
        done = self.run(
            "enroll", "alice", "--with", "virtual", "--codes", "generated", "-r", self.recipient, "--output", "json"
        )
        backup = Path(json.loads(done.stdout)["backup"])
        if not seal:
            backup.unlink()
        return backup

    def enroll_into(self, place: str) -> str:
        """Give alice a device as `enroll` does, with her backup in a folder or a bucket. Return its path or URL."""
        if place == "bucket":
            bucket = f"backups-{next(NUMBERS)}"  # the labs of one process share their buckets
            client_of(self.lab, "s3").create_bucket(Bucket=bucket)
            self.home.mkdir(mode=0o700)
            (self.home / "config.toml").write_text(f'backup-dir = "s3://{bucket}"\n')
        self.enroll()
        [row] = json.loads(self.run("backup", "list", "--output", "json").stdout)["rows"]
        return str(row["file"])

    def seed(self) -> bytes:
        return self.lab.seed(SERIAL)

    def code(self, seed: bytes | None = None) -> str:
        return pyotp.TOTP(base64.b32encode(seed or self.seed()).decode()).at(self.lab.account.now())

    def png(self, name: str, text: str) -> None:
        qrcode.make(text).get_image().save(self.folder / name)

    def uri(self, seed: bytes, label: str = f"alice@{ACCOUNT}") -> str:
        return key_uri.otpauth(Seed(seed), label=label).reveal()

    def opened(self, backup: Path) -> bytes:
        """Return the secret that Debian's age finds in a backup."""
        done = subprocess.run(
            [judge("age"), "-d", "-i", self.folder / "id.txt", backup], check=True, capture_output=True
        )
        return key_uri.seed_of(symbol.read(Png(done.stdout))).reveal()

    def silent(self, *seeds: bytes) -> None:
        """Check that no secret was written unencrypted, except in pictures that the user made."""
        for file in self.folder.rglob("*"):
            if file.is_file() and file.suffix not in {".png", ".txt"}:
                for seed in seeds:
                    assert base64.b32encode(seed) not in file.read_bytes(), file


@pytest.fixture
def desk(lab: Lab, tmp_path: Path) -> Desk:
    return Desk(lab, tmp_path)


def test_a_screenshot_becomes_a_backup(desk: Desk) -> None:
    """One code proves the device.

    The output names the picture to delete, status shows the backup, and age decrypts it.
    """
    desk.enroll(seal=False)
    desk.png("shot.png", desk.uri(desk.seed(), f"alice-old@{ACCOUNT}"))
    words = ("backup", "add", "alice", "--image", "shot.png", "-r", desk.recipient, "--output", "json")
    planned = desk.window(*words, "--dry-run")
    assert planned.end() == 0
    assert json.loads(planned.printed("out"))["outcome"] == "planned"
    assert not list(desk.home.rglob("*.png.age"))
    window = desk.window(*words)
    window.see("type the code that the phone now shows for alice of alice")
    window.see("code: ")
    window.type("000000")
    window.see("code: ")
    window.type(desk.code())
    assert window.end() == 0
    row = json.loads(window.printed("out"))
    assert (row["outcome"], row["user"], row["shredded"]) == ("sealed", "alice", False)
    assert "shot.png contains the secret unencrypted: delete it" in window.printed("err")
    assert "the label says 'alice-old', but the device is alice" in window.printed("err")
    assert (desk.folder / "shot.png").exists()
    assert desk.opened(Path(row["backup"])) == desk.seed()
    [verified] = json.loads(desk.run("backup", "verify", row["backup"], "-i", "id.txt", "--output", "json").stdout)[
        "rows"
    ]
    assert (verified["label"], verified["remarks"]) == (f"Amazon Web Services:alice@{ACCOUNT}", None)
    [device] = json.loads(desk.run("status", "alice", "--output", "json").stdout)["rows"]
    assert (device["backup"], device["made"], device["drill_due"]) == (row["backup"], "this desk", False)
    again = desk.window("backup", "add", "alice", "--image", "shot.png", "-r", desk.recipient)
    assert again.end() == 2
    assert "already has a backup" in again.printed("err")
    desk.silent(desk.seed())


def test_unusual_parts_of_a_picture_are_noted(desk: Desk) -> None:
    """A picture whose label and parameter name different issuers is added, with a note."""
    desk.enroll(seal=False)
    desk.png("shot.png", desk.uri(desk.seed()).replace("issuer=Amazon%20Web%20Services", "issuer=Example"))
    window = desk.window("backup", "add", "alice", "--image", "shot.png", "-r", desk.recipient, "--dry-run")
    assert window.end() == 0
    assert "'Amazon Web Services', but the issuer parameter is 'Example'" in window.printed("err")


def test_the_backup_of_a_device_of_another_tool_is_revoked_too(desk: Desk, lab: Lab) -> None:
    """The device has no tag, so it stays unknown which tool made it. The backup is removed together with the device."""
    iam = client_of(lab, "iam")
    made = iam.create_virtual_mfa_device(VirtualMFADeviceName="alice")["VirtualMFADevice"]
    totp, now = pyotp.TOTP(made["Base32StringSeed"].decode()), lab.account.now()
    iam.enable_mfa_device(
        UserName="alice",
        SerialNumber=made["SerialNumber"],
        AuthenticationCode1=totp.at(now - 30),
        AuthenticationCode2=totp.at(now),
    )
    (desk.folder / "shot.png").write_bytes(made["QRCodePNG"])
    os.link(desk.folder / "shot.png", desk.folder / "linked.png")
    window = desk.window(
        "backup", "add", "alice", "--image", "shot.png", "-r", desk.recipient, "--shred", "--output", "json"
    )
    window.see("code: ")
    window.type(desk.code())
    assert window.end() == 0
    backup = Path(json.loads(window.printed("out"))["backup"])
    assert json.loads(window.printed("out"))["shredded"] is True
    assert not (desk.folder / "shot.png").exists()
    assert "copies may remain on an SSD" in window.printed("err")
    assert "the picture was also overwritten under 1 other name (hard links)" in window.printed("err")
    assert (desk.folder / "linked.png").read_bytes() != made["QRCodePNG"]
    [device] = json.loads(desk.run("status", "alice", "--output", "json").stdout)["rows"]
    assert (device["backup"], device["made"]) == (str(backup), "unknown")
    assert desk.run("revoke", "alice", "--leave-without-mfa", "--yes").returncode == 0
    assert not backup.exists()


def test_the_picture_of_root_is_encrypted_without_a_request(desk: Desk) -> None:
    """The device's name is that of the label, and the folder is that of root. The picture can be read from a pipe."""
    desk.png("root.png", desk.uri(SEED, f"root-account-mfa-device@{ACCOUNT}"))
    words = (*MFA_KIT, "backup", "add", "--root", "--image", "-", "-r", desk.recipient, "--output", "json")
    window = Window(["/bin/sh", "-c", 'cat root.png | "$@"', "sh", *words], env=desk.env, cwd=desk.folder)
    window.see("code: ")
    window.type(desk.code(SEED))
    assert window.end() == 0
    row = json.loads(window.printed("out"))
    assert (row["user"], row["image"], row["shredded"]) == ("root", None, None)
    backup = Path(row["backup"])
    assert backup.parent == desk.home / "backups" / ACCOUNT / "root"
    assert backup.name.startswith("root-account-mfa-device-")
    assert desk.opened(backup) == SEED


def test_an_export_is_read_and_one_account_chosen(desk: Desk) -> None:
    """The picture is an export of Google Authenticator. Entries that AWS cannot use are not offered."""
    desk.enroll(seal=False)
    accounts = [(b"counter", b"hotp", 1), (bytes(20), b"other", 2), (desk.seed(), b"Amazon:alice@alias", 2)]
    desk.png("export.png", export(accounts))
    window = desk.window("backup", "add", "alice", "--image", "export.png", "-r", desk.recipient, "--output", "json")
    window.see("account to use from picture 1 of 1, 1 to 2: ")
    assert "hotp" not in window.look().text()
    window.type("2")
    window.see("code: ")
    window.type(desk.code())
    assert window.end() == 0
    assert desk.opened(Path(json.loads(window.printed("out"))["backup"])) == desk.seed()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_key_uri_in_a_text_file_becomes_a_backup(encoding: str, desk: Desk) -> None:
    """Editors and shells on Windows write a byte order mark. The label in the backup is that of the device."""
    desk.enroll(seal=False)
    (desk.folder / "uri.txt").write_text(f"{desk.uri(desk.seed(), 'my AWS at work')}\r\n", encoding=encoding)
    words = ("backup", "add", "alice", "--image", "uri.txt", "-r", desk.recipient, "--shred", "--output", "json")
    window = desk.window(*words)
    window.see("code: ")
    window.type(desk.code())
    assert window.end() == 0
    assert "the label says 'Amazon Web Services:my AWS at work', but the device is alice" in window.printed("err")
    backup = Path(json.loads(window.printed("out"))["backup"])
    assert desk.opened(backup) == desk.seed()
    assert not (desk.folder / "uri.txt").exists()
    assert desk.run("backup", "verify", backup, "-i", "id.txt").returncode == 0
    desk.silent(desk.seed())


def test_a_key_uri_in_an_argument_is_refused(desk: Desk) -> None:
    """Other programs can read arguments. The error does not repeat the secret."""
    for uri in (desk.uri(SEED), f" {desk.uri(SEED)}", export([(SEED, b"alice", 2)]).replace("otpauth", "OTPAUTH")):
        for words in (["alice", "--image", uri], [uri, "--image", "uri.txt"]):
            done = desk.run("backup", "add", *words, "-r", desk.recipient)
            assert (done.returncode, done.stdout) == (2, "")
            assert "a key URI contains a secret, and other programs can read arguments" in done.stderr
            assert uri.split("=")[1][:10] not in done.stderr


def export(accounts: Sequence[tuple[bytes, bytes, int]]) -> str:
    def field(number: int, data: bytes) -> bytes:
        return bytes([number << 3 | 2, len(data)]) + data

    payload = b"".join(field(1, field(1, seed) + field(2, name) + bytes([0x30, kind])) for seed, name, kind in accounts)
    return f"otpauth-migration://offline?data={base64.b64encode(payload).decode()}"


def test_ctrl_c_before_the_code_writes_nothing(desk: Desk) -> None:
    """The picture is not deleted."""
    desk.enroll(seal=False)
    desk.png("shot.png", desk.uri(desk.seed()))
    window = desk.window("backup", "add", "alice", "--image", "shot.png", "-r", desk.recipient, "--shred")
    window.see("code: ")
    window.type("\x03", end="")
    assert window.end() == 130
    assert not list(desk.home.rglob("*.png.age"))
    assert (desk.folder / "shot.png").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["alice", "--root", "--image", "a.png"], 2, "give either a USER or --root"),
        (["--image", "a.png"], 2, "give either a USER or --root"),
        (["alice", "--image", "-", "--shred"], 2, "cannot be overwritten"),
        (["alice", "--image", "missing.png"], 2, "No such file"),
        (["alice", "--image", "link.png"], 2, "symbolic links"),
        (["alice", "--image", "."], 2, "Is a directory"),
        (["alice", "--image", "pipe"], 2, "is not a file"),
        (["alice", "--image", "id.txt"], 5, "not a picture"),
        (["alice", "--image", "long.txt"], 5, "not a picture"),
        (["alice", "--image", "blank.png"], 5, "no QR code"),
        (["alice", "--image", "two.png"], 5, "2 QR codes"),
        (["alice", "--image", "url.png"], 5, "not contain a usable otpauth URI"),
        (["alice", "--image", "two.txt"], 5, "the text has more than one line"),
        (["alice", "--image", "bad.txt"], 5, "not contain a usable otpauth URI"),
        (["alice", "--image", "hotp.png"], 5, "can belong to AWS"),
        (["alice", "--image", "account.png"], 2, "belongs to account 999999999999"),
        (["bob", "--image", "good.png"], 4, "NoSuchEntity"),
        (["alice", "--image", "good.png"], 2, "alice has no MFA device"),
        (["--root", "--image", "good.png", "--mfa-device", "a/b"], 2, "is not the name of an MFA device"),
    ],
)
def test_what_cannot_be_added_is_an_error_message(words: list[str], code: int, said: str, desk: Desk) -> None:
    """No backup is written, the user is not asked for a code, and the picture is not deleted."""
    desk.png("good.png", desk.uri(SEED))
    desk.png("a.png", desk.uri(SEED))
    desk.png("url.png", "https://example.com")
    (desk.folder / "two.txt").write_text(f"{desk.uri(SEED)}\n{desk.uri(SEED)}\n")
    (desk.folder / "bad.txt").write_text("otpauth://totp/alice?secret=1")
    (desk.folder / "long.txt").write_text(f"{desk.uri(SEED)}&issuer={'x' * 8192}")
    desk.png("hotp.png", export([(b"counter", b"hotp", 1)]))
    Image.new("L", (50, 50), 255).save(desk.folder / "blank.png")
    two = Image.new("L", (1600, 800), 255)
    for left in (0, 800):
        two.paste(Image.open(desk.folder / "good.png"), (left, 0))
    two.save(desk.folder / "two.png")
    desk.png("account.png", desk.uri(SEED, "alice@999999999999"))
    (desk.folder / "link.png").symlink_to("good.png")
    os.mkfifo(desk.folder / "pipe")
    window = desk.window("backup", "add", *words, "-r", desk.recipient)
    assert window.end() == code
    lines = [line for line in window.printed("err").splitlines() if not line.startswith("account ")]
    assert said in lines[0]
    assert lines[1].startswith("  try: ")
    assert len(lines) == 2
    assert not list(desk.home.rglob("*.age"))
    assert (desk.folder / "good.png").exists()


def test_without_a_terminal_nothing_is_added(desk: Desk) -> None:
    """A script has no phone to show a code."""
    done = desk.run("backup", "add", "alice", "--image", "x.png", "-r", desk.recipient)
    assert done.returncode == 8
    assert "no terminal" in done.stderr


@PLACES
def test_a_new_phone_scans_the_code_and_is_verified(place: str, desk: Desk) -> None:
    """A camera can read the QR code from the alternate screen. After the command, the code is no longer shown."""
    backup = desk.enroll_into(place)
    window = desk.window("backup", "restore", backup, "-i", "id.txt", "--to", "phone", "--output", "json")
    window.see("code: ")
    uri = read(picture(window.look(), DARK), desk.folder / "camera.png")
    phone = pyotp.parse_uri(uri)
    assert isinstance(phone, pyotp.TOTP)
    window.type(phone.at(desk.lab.account.now()))
    assert window.end() == 0
    assert json.loads(window.printed("out"))["outcome"] == "restored"
    assert "▀" not in window.screen.text()
    desk.silent(desk.seed())


def test_a_lost_device_is_not_restored_to_a_phone(desk: Desk) -> None:
    """Whoever found the lost phone has the same codes."""
    backup = desk.enroll()
    run = backup.name.removeprefix("alice-").removesuffix(".png.age")
    spec = DeviceSpec(account=ACCOUNT, partition="aws", user="alice", name="alice")
    with sqlite_ledger(desk.home) as ledger:
        ledger.record(JournalEntry(run=run, spec=spec, purpose=RunKind.LOST, reached=JournalState.REVOKED))
    window = desk.window("backup", "restore", str(backup), "-i", "id.txt", "--to", "phone")
    assert window.end() == 2
    assert "alice was reported lost" in window.printed("err")
    assert "▀" not in window.screen.text()
    silent = desk.run("backup", "restore", backup, "-i", "id.txt", "--to", "phone")
    assert silent.returncode == 8


def test_a_file_without_a_key_uri_is_not_restored(desk: Desk) -> None:
    """Otherwise, an attacker who can write to the folder could have any secret shown."""
    desk.png("page.png", "https://example.com")
    for name, content in (("page", (desk.folder / "page.png").read_bytes()), ("text", b"not a picture")):
        file = desk.folder / f"{name}.png.age"
        file.write_bytes(pyrage.encrypt(content, [pyrage.x25519.Recipient.from_str(desk.recipient)]))
        window = desk.window("backup", "restore", str(file), "-i", "id.txt", "--to", "phone")
        assert window.end() == 5
        assert window.printed("out") == ""
        assert "▀" not in window.screen.text()


@PLACES
def test_a_drill_is_recorded(place: str, desk: Desk) -> None:
    """Status shows the drill until the next one is due. If a phone shows other codes, the exit code is 1."""
    backup = desk.enroll_into(place)
    window = desk.window("backup", "drill", "-i", "id.txt", "--output", "json")
    window.see("Enter to skip: ")
    window.type(desk.code())
    assert window.end() == 0
    [row] = json.loads(window.printed("out"))["rows"]
    assert (row["file"], row["result"]) == (backup, "proved")
    [device] = json.loads(desk.run("status", "alice", "--output", "json").stdout)["rows"]
    assert device["drilled"]
    assert device["drill_due"] is False
    due = desk.run("status", "alice", "--drilled-within", "0s", "--output", "json")
    assert json.loads(due.stdout)["rows"][0]["drill_due"] is True
    assert "backups not tested for 0 days: 1; to test them: mfa-kit" in due.stderr
    wrong = desk.window("backup", "drill", backup, "-i", "id.txt", "--output", "json")
    for _ in range(3):
        wrong.see("Enter to skip: ")
        wrong.type("000000")
    assert wrong.end() == 1
    assert json.loads(wrong.printed("out"))["rows"][0]["result"] == "differs"
    desk.silent(desk.seed())


def test_a_drill_continues_after_a_skipped_or_unreadable_backup(desk: Desk) -> None:
    """Nothing was proved for the skipped backup, so the exit code is 1."""
    backup = desk.enroll()
    (desk.folder / "bad.png.age").write_bytes(backup.read_bytes()[:-1])
    window = desk.window("backup", "drill", "bad.png.age", str(backup), "-i", "id.txt", "--output", "json")
    window.see("Enter to skip: ")
    window.type("")
    assert window.end() == 1
    assert [row["result"] for row in json.loads(window.printed("out"))["rows"]] == ["not opened", "skipped"]


def test_a_changed_passphrase_does_not_change_the_backups(desk: Desk) -> None:
    """The old passphrase no longer decrypts the identity. The same backup can be decrypted with the new one."""
    window = desk.window("enroll", "alice", "--with", "virtual", "--codes", "generated", "--output", "json")
    window.see("passphrase, 1 to 2: ")
    window.type("1")
    for prompt in ("passphrase: ", "type it again: "):
        window.see(prompt)
        window.type("the old words")
    assert window.end() == 0
    backup = Path(json.loads(window.printed("out"))["backup"])
    before, [identity] = backup.read_bytes(), desk.home.glob("identity-*.age")
    wrong = desk.window("backup", "passphrase")
    for again in ("wrong passphrase", "wrong passphrase", ""):
        wrong.see("current passphrase of ")
        wrong.type("not these words")
        wrong.see("unlocking the identity")
        wrong.see(again)
    assert wrong.end() == 2
    right = desk.window("backup", "passphrase", "--output", "json")
    change(right, "the old words", "the new words")
    assert right.end() == 0
    assert json.loads(right.printed("out"))["identity"] == str(identity)
    assert "the old passphrase still decrypts older copies" in right.printed("err")
    assert backup.read_bytes() == before
    assert sorted(path.suffix for path in desk.home.glob("identity-*")) == [".age", ".pub"]
    for words, code in (("the old words", 2), ("the new words", 0)):
        (desk.folder / "words").write_text(words)
        with (desk.folder / "words").open() as file:
            done = subprocess.run(
                [*MFA_KIT, "backup", "verify", backup, "-i", identity, "--passphrase-fd", "0"],
                env=desk.env,
                stdin=file,
                capture_output=True,
                check=False,
            )
        assert done.returncode == code


def test_a_prompt_for_the_passphrase_of_an_unproven_identity_says_why(desk: Desk) -> None:
    """Encryption needs no passphrase, so without the reason the question would look wrong."""
    enroll = ("enroll", "alice", "--with", "virtual", "--codes", "generated", "--add", "--passphrase")
    window = desk.window(*enroll)
    window.see("passphrase, 1 to 2: ")
    window.type("1")
    for prompt in ("passphrase: ", "type it again: "):
        window.see(prompt)
        window.type("the old words")
    assert window.end() == 0
    [public] = desk.home.glob("identity-*.pub")
    public.unlink()
    window = desk.window(*enroll)
    window.see("mfa-kit checks once")
    window.see("passphrase of ")
    window.type("the old words")
    assert window.end() == 0
    assert public.exists()


def change(window: Window, before: str, after: str) -> None:
    window.see("current passphrase of ")
    window.type(before)
    window.see("passphrase, 1 to 2: ")
    window.type("1")
    for prompt in ("passphrase: ", "type it again: "):
        window.see(prompt)
        window.type(after)


@pytest.mark.parametrize("words", [[], ["missing.age"]])
def test_a_missing_identity_is_an_error_before_any_input(words: list[str], desk: Desk) -> None:
    """Without a terminal, the error says that a person has to type the passphrase."""
    window = desk.window("backup", "passphrase", *words)
    assert window.end() == 2
    said = "there is no file missing.age" if words else "there are 0 identities with a passphrase"
    assert said in window.printed("err")
    desk.home.mkdir(exist_ok=True)
    (desk.home / "identity-age1x.age").touch()
    done = desk.run("backup", "passphrase")
    assert done.returncode == 8
    assert "run this at a terminal" in done.stderr


def test_the_status_line_shows_the_progress_of_a_rekey(desk: Desk) -> None:
    """The line is shown only on a terminal, and not on stdout. A slow plugin leaves time to see it."""
    desk.enroll()
    program = program_in(desk.folder / "plugins")
    (desk.home / "config.toml").write_text(f'age-plugins = ["{program}"]\n')
    new = demo.recipient(desk.recipient, wait=2)
    window = Window(
        ["/bin/sh", "-c", 'exec "$@" >out', "sh", *MFA_KIT, "backup", "rekey", "--unproven", "-i", "id.txt", "-r", new],
        env=desk.env,
        cwd=desk.folder,
        apart=False,
    )
    window.see("encrypting backups: 1 of 1")
    assert window.end() == 0
    assert "of 1" not in (desk.folder / "out").read_text()


def test_a_plugin_asks_for_its_pin_at_the_terminal(desk: Desk) -> None:
    """The message of the plugin precedes the prompt. The PIN is not echoed."""
    backup, program = desk.enroll(), program_in(desk.folder / "plugins")
    (desk.home / "config.toml").write_text(f'age-plugins = ["{program}"]\n')
    key = (desk.folder / "id.txt").read_text().split()[-1]
    request: dict[str, Any] = {"message": "touch the demo key", "pin": "493817", "confirm": ["use it", "stop"]}
    (desk.folder / "demo.txt").write_text(f"{demo.identity(key, **request)}\n")
    done = desk.run("backup", "rekey", "--unproven", "-i", "id.txt", "-r", demo.recipient(desk.recipient))
    assert done.returncode == 0, done.stderr
    window = desk.window("backup", "verify", str(backup), "-i", "demo.txt", "--output", "json")
    window.see("age-plugin-demo says: touch the demo key")
    window.see("age-plugin-demo says: May the demo key be used?")
    window.see("answer, 1 to 2: ")
    window.type("1")
    window.see("age-plugin-demo says: PIN of the demo key: ")
    window.type("493817")
    assert window.end() == 0
    [row] = json.loads(window.printed("out"))["rows"]
    assert row["opens"] is True
    assert "493817" not in window.look().text()


@pytest.mark.slow
def test_a_plugin_can_wait_longer_than_ten_seconds(desk: Desk) -> None:
    """A YubiKey waits for a touch. After ten seconds a thread of the library reports this, which must do no harm."""
    backup, program = desk.enroll(), program_in(desk.folder / "plugins")
    (desk.home / "config.toml").write_text(f'age-plugins = ["{program}"]\n')
    key = (desk.folder / "id.txt").read_text().split()[-1]
    (desk.folder / "demo.txt").write_text(f"{demo.identity(key, message='touch the demo key', wait=11)}\n")
    done = desk.run("backup", "rekey", "--unproven", "-i", "id.txt", "-r", demo.recipient(desk.recipient))
    assert done.returncode == 0, done.stderr
    window = desk.window("backup", "verify", str(backup), "-i", "demo.txt", "--output", "json")
    window.see("age-plugin-demo says: touch the demo key")
    assert window.end() == 0
    assert json.loads(window.printed("out"))["rows"][0]["opens"] is True
    assert "panicked" not in window.look().text()


@pytest.mark.slow
def test_a_command_can_end_right_after_a_slow_plugin(desk: Desk) -> None:
    """The thread of the library must not wake up while the interpreter ends."""
    program = program_in(desk.folder / "plugins")
    slow = demo.recipient(desk.recipient, wait=11)
    desk.home.mkdir(mode=0o700, exist_ok=True)
    (desk.home / "config.toml").write_text(f'age-plugins = ["{program}"]\nrecipients = ["{slow}"]\n')
    done = desk.run("config", "validate", fork=False)
    assert (done.returncode, done.stderr) == (0, "")

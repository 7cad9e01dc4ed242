"""Tests of backups: Debian's age decrypts them, files are private, no file is overwritten, errors are reported."""

import base64
import errno
import os
import random
import re
import shlex
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from mfa_kit.adapters.files.agefile import AgeFiles, open_backup
from mfa_kit.adapters.files.identities import parse_recipients, read_identities, unlock_identity
from mfa_kit.adapters.files.local_store import LOCAL, find_backups
from mfa_kit.adapters.files.ssh import unlock_ssh_key
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import DeviceSpec, JournalEntry, own_copy
from mfa_kit.core.otp import KeyUri, Png, Secret, Seed
from mfa_kit.core.text import encoded
from mfa_kit.disk.files import LARGEST, write_new
from mfa_kit.qr_codes import key_uri, symbol
from tests.age_plugin_demo import bech32
from tests.conftest import judge, without

RUN = "20261125T000000Z-0a1b2c3d"
SEED = Seed(bytes(range(40)))
URI = key_uri.otpauth(SEED, label="alice@000000000000")
# C2SP age.md, "The p256tag recipient stanza": the point of the private key 0x1234567890abcdef, in Bech32.
TAG = "age1tag1qw06mp9w4cythmmlqyqpfkpvaa4qnh3tpnu8rdwwp3836ya9nfvngc8d802"
NAMES = st.text("abAB01_+=,.@-%", min_size=1, max_size=20)


def spec(**how: Any) -> DeviceSpec:
    return DeviceSpec(**{"account": "000000000000", "partition": "aws", "user": "alice", "name": "alice", **how})


def entry_in(store: AgeFiles, run: str = RUN, **how: Any) -> JournalEntry:
    made = spec(**how)
    return JournalEntry(run=run, spec=made, backup=store.place(made, run))


def place_of(entry: JournalEntry) -> Path:
    assert entry.backup
    return Path(entry.backup)


@pytest.fixture
def store(tmp_path: Path, recipient: str) -> AgeFiles:
    return AgeFiles(tmp_path / "backups", parse_recipients([recipient]))


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture(scope="session")
def ssh_keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ssh")
    for kind in ("ed25519", "rsa"):
        arguments: list[str | Path] = ["-q", "-t", kind, "-N", "", "-C", "alice@desk", "-f", folder / kind]
        subprocess.run([judge("ssh-keygen"), *arguments], check=True)
    return folder


def opened(path: Path, identity: Path) -> Png:
    """Decrypt a backup with Debian's age."""
    done = subprocess.run([judge("age"), "-d", "-i", identity, path], capture_output=True, check=True)
    return Png(done.stdout)


def test_age_decrypts_a_backup_for_an_age_recipient(store: AgeFiles, identity_file: Path) -> None:
    """The picture in the backup contains AWS's URI."""
    entry = entry_in(store)
    store.seal(entry, URI)
    assert symbol.read(opened(place_of(entry), identity_file)) == URI


@pytest.mark.parametrize("kind", ["ed25519", "rsa"])
def test_age_decrypts_a_backup_for_an_ssh_recipient(kind: str, ssh_keys: Path, tmp_path: Path) -> None:
    """Both kinds of SSH keys that age supports are tested. mfa-kit decrypts with the same private keys."""
    store = AgeFiles(tmp_path, parse_recipients([(ssh_keys / f"{kind}.pub").read_text().strip()]))
    entry = entry_in(store)
    store.seal(entry, URI)
    assert symbol.read(opened(place_of(entry), ssh_keys / kind)) == URI
    ours = open_backup(place_of(entry), read_identities([ssh_keys / kind]))
    assert symbol.read(ours) == URI


def test_each_recipient_can_decrypt_alone(ssh_keys: Path, identity_file: Path, recipient: str, tmp_path: Path) -> None:
    """Recipients of `-r` and `-R` are combined. Comments and blank lines are skipped."""
    listed = tmp_path / "recipients.txt"
    listed.write_text(f"# the safe\n\n  {(ssh_keys / 'ed25519.pub').read_text()}\n#{recipient}\n")
    store = AgeFiles(tmp_path / "backups", parse_recipients([recipient], [listed]))
    entry = entry_in(store)
    store.seal(entry, URI)
    for identity in (identity_file, ssh_keys / "ed25519"):
        assert symbol.read(opened(place_of(entry), identity)) == URI


@pytest.mark.usefixtures("open_umask")
def test_files_and_folders_are_private_whatever_the_umask(tmp_path: Path, recipient: str) -> None:
    """Modes are 0600 and 0700, also for missing parent folders."""
    store = AgeFiles(tmp_path / "new" / "er" / "backups", parse_recipients([recipient]))
    store.check()
    assert not (tmp_path / "new").exists()
    store.seal(entry_in(store), URI)
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "new").rglob("*")}
    assert all(mode == (0o700 if path.is_dir() else 0o600) for path, mode in modes.items())
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    assert [path.name for path in modes if path.is_file()] == [f"alice-{RUN}.png.age"]


def test_a_backup_never_overwrites_another_file(store: AgeFiles) -> None:
    """The existing file stays, and no partial file is left beside it."""
    entry = entry_in(store)
    place_of(entry).parent.mkdir(parents=True)
    place_of(entry).write_text("somebody's")
    with pytest.raises(IntegrityFault, match="already exists"):
        store.seal(entry, URI)
    assert place_of(entry).read_text() == "somebody's"
    assert list(place_of(entry).parent.iterdir()) == [place_of(entry)]


def test_a_backup_is_not_written_through_a_symlink(store: AgeFiles, tmp_path: Path) -> None:
    """A symlink to a missing target is refused too."""
    entry = entry_in(store)
    place_of(entry).parent.mkdir(parents=True)
    place_of(entry).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(IntegrityFault, match="already exists"):
        store.seal(entry, URI)
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize("level", ["backups", "backups/000000000000", "backups/000000000000/alice"])
def test_a_symlinked_folder_is_refused(level: str, store: AgeFiles, tmp_path: Path) -> None:
    """A symlink at or below the folder of backups is refused, and nothing is written to its target."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / level).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / level).symlink_to(elsewhere)
    with pytest.raises(IntegrityFault, match="cannot be written") as caught:
        store.seal(entry_in(store), URI)
    assert caught.value.hint
    assert not list(elsewhere.iterdir())


@pytest.mark.parametrize("target", ["elsewhere", "nowhere"])
def test_a_symlink_as_the_folder_is_refused_before_any_write(target: str, store: AgeFiles, tmp_path: Path) -> None:
    """The symlink is refused, whether its target exists or not."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "backups").symlink_to(tmp_path / target)
    with pytest.raises(UsageFault, match="is a symlink"):
        store.check()


@pytest.mark.parametrize("below", ["", "deep/er"])
def test_a_file_in_place_of_the_folder_is_refused_before_any_write(below: str, recipient: str, tmp_path: Path) -> None:
    """A path below the file is refused too."""
    (tmp_path / "file").touch()
    # Without recipients, users may still have their own copies there.
    for to in ([], parse_recipients([recipient])):
        with pytest.raises(UsageFault, match="not a folder that you can write to"):
            AgeFiles(tmp_path / "file" / below, to).check()


def test_a_file_can_be_in_the_root_folder(tmp_path: Path) -> None:
    """In a container, files may be in the root folder."""
    if os.geteuid() != 0:
        without("chroot needs root")
    script = (
        "import os, sys; from pathlib import Path; from mfa_kit.disk import files;"
        "os.chroot(sys.argv[1]);"
        "files.write_new(Path('/qr.png'), b'picture')"
    )
    subprocess.run([sys.executable, "-c", script, tmp_path], check=True)
    assert (tmp_path / "qr.png").read_bytes() == b"picture"


def test_without_a_recipient_no_backup_is_written(tmp_path: Path) -> None:
    """Without a recipient there is no path and no file, and nothing to check."""
    store = AgeFiles(tmp_path / "nowhere" / "backups", [])
    entry = entry_in(store)
    assert entry.backup is None
    store.check()
    store.seal(entry, URI)
    store.remove(entry)
    assert not list(tmp_path.iterdir())


def test_only_this_runs_file_is_removed(store: AgeFiles) -> None:
    """The partial file of the run is removed too. Removing the same backup twice is harmless."""
    entry, other = entry_in(store), entry_in(store, run="20261125T000000Z-ffffffff")
    store.seal(entry, URI)
    store.seal(other, URI)
    half = place_of(entry).with_name(f".{place_of(entry).name}.partial")
    half.write_text("half")
    for _ in range(2):
        store.remove(entry)
        assert list(place_of(entry).parent.iterdir()) == [place_of(other)]


def test_a_backup_is_found_without_the_path_in_the_ledger(store: AgeFiles, recipient: str) -> None:
    """The usual place counts, then the user's own copy, which exists only if the user has a recipient."""
    entry = entry_in(store, recipient=recipient)
    store.seal(entry, URI)
    lost = replace(entry, backup=None)
    assert store.find(entry) == store.find(lost) == entry.backup
    place_of(entry).unlink()
    assert store.find(entry) == store.find(lost) == str(own_copy(place_of(entry)))
    without = replace(lost, spec=replace(lost.spec, recipient=None))
    assert store.find(without) is None


@pytest.mark.parametrize(
    "name",
    [
        "keep.txt",
        "other-20261125T000000Z-0a1b2c3d.png.age",
        "alice-20261125T000000Z-ffffffff.png.age",
        "../alice/alice-20261125T000000Z-0a1b2c3d.png.age",
    ],
)
def test_a_path_in_a_changed_ledger_is_not_removed(name: str, store: AgeFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a path that the run's own backup can have is removed."""
    entry = entry_in(store)
    store.seal(entry, URI)
    file = place_of(entry).parent / name
    file.touch()
    with pytest.raises(IntegrityFault, match="no backup of that run can have this path"):
        store.remove(replace(entry, backup=str(file)))
    with pytest.raises(IntegrityFault, match="no backup of that run can have this path"):
        store.remove(replace(entry, backup=name))
    base, below = place_of(entry).parents[2], place_of(entry).relative_to(place_of(entry).parents[2])
    monkeypatch.chdir(base)
    with pytest.raises(IntegrityFault, match="no backup of that run can have this path"):
        store.remove(replace(entry, backup=str(below)))
    with pytest.raises(IntegrityFault, match="no backup of that run can have this path"):
        store.remove(replace(entry, backup=str(base / ".." / base.name / below)))
    assert file.exists()
    assert place_of(entry).exists()


def test_removing_from_a_missing_folder_is_harmless(store: AgeFiles) -> None:
    """A run may end before its first file is written."""
    store.remove(entry_in(store))


@pytest.mark.parametrize("gone", ["backups", "backups/000000000000/alice"], ids=["whole", "mount point left"])
def test_a_missing_folder_does_not_count_as_a_removed_backup(gone: str, store: AgeFiles, tmp_path: Path) -> None:
    """A folder may be on a USB stick that was unplugged.

    The missing folder is an error, and a later attempt removes the backup.
    """
    entry = replace(entry_in(store), sealed=True)
    store.seal(entry, URI)
    (tmp_path / gone).rename(tmp_path / "unmounted")
    with pytest.raises(IntegrityFault, match="does not exist, so the backup in it was not removed") as caught:
        store.remove(entry)
    assert f"mkdir -p {place_of(entry).parent}" in caught.value.hint
    assert "on the computer that has it" in caught.value.hint
    (tmp_path / "unmounted").rename(tmp_path / gone)
    store.remove(entry)
    assert not place_of(entry).exists()
    store.remove(entry)


def test_new_folders_survive_a_power_failure(recipient: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each folder in which a folder was created is synced, also above the backup folder."""
    synced: set[str] = set()
    fsync = os.fsync

    def note(opened: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{opened}").readlink()))
        fsync(opened)

    monkeypatch.setattr(os, "fsync", note)
    deep = AgeFiles(tmp_path / "new" / "er" / "backups", parse_recipients([recipient]))
    entry = entry_in(deep)
    deep.seal(entry, URI)
    assert {str(above) for above in place_of(entry).parents if above.is_relative_to(tmp_path)} <= synced


def test_a_file_whose_folder_cannot_be_synced_is_not_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file might be gone after a power failure, so it does not count as written."""

    def broken(opened: int) -> None:
        if stat.S_ISDIR(os.fstat(opened).st_mode):
            raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(IntegrityFault, match="Input/output error"):
        write_new(tmp_path / "qr.png", b"picture")
    assert not list(tmp_path.iterdir())


def test_a_partial_file_of_an_earlier_attempt_is_replaced(store: AgeFiles, identity_file: Path) -> None:
    """Otherwise, O_EXCL would make every later attempt of the run fail."""
    entry = entry_in(store)
    place_of(entry).parent.mkdir(parents=True)
    place_of(entry).with_name(f".{place_of(entry).name}.partial").write_text("half")
    store.seal(entry, URI)
    assert symbol.read(opened(place_of(entry), identity_file)) == URI
    assert list(place_of(entry).parent.iterdir()) == [place_of(entry)]


def test_the_caption_describes_the_picture_and_its_use(store: AgeFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    """The caption has the account, user, device and date, in words."""
    captions: list[str] = []
    draw = symbol.png

    def remember(uri: KeyUri, *, caption: str = "") -> Png:
        captions.append(caption)
        return draw(uri, caption=caption)

    monkeypatch.setattr(symbol, "png", remember)
    store.seal(entry_in(store, name="desk-2"), URI)
    for words in ("000000000000", "alice", "desk-2", "2026-11-25", "authenticator app"):
        assert words in captions[0]


@given(NAMES, NAMES, NAMES, NAMES)
def test_different_names_have_different_paths(user: str, name: str, other_user: str, other_name: str) -> None:
    """The paths differ also on a file system that ignores case, and are always inside the folder."""
    store = AgeFiles(Path("/backups"), parse_recipients([str(pyrage.x25519.Identity.generate().to_public())]))
    one, other = store.place(intent_of(user, name), RUN), store.place(intent_of(other_user, other_name), RUN)
    assert one
    assert other
    assert (one.lower() == other.lower()) is ((user, name) == (other_user, other_name))
    assert Path(os.path.normpath(one)) == Path(one)
    assert Path(one).parts[:3] == ("/", "backups", "000000000000")
    assert len(Path(one).parts) == 5


def intent_of(user: str, name: str) -> DeviceSpec:
    """Skip names that IAM refuses. IAM does not allow a percent sign, so it is replaced."""
    return spec(user=f"u{user}".replace("%", "_p"), name=name.replace("%", "_p"))


@pytest.mark.parametrize(
    ("text", "part"), [("..", "%2E%2E"), ("Alice", "%41lice"), ("a/b", "a%2Fb"), ("a%b", "a%25b"), ("a_b-c9", "a_b-c9")]
)
def test_a_part_of_a_path_is_percent_encoded(text: str, part: str) -> None:
    """Only small letters, digits, _ and - are not encoded."""
    assert encoded(text) == part


def test_a_name_that_is_too_long_for_a_file_is_refused_first(store: AgeFiles) -> None:
    """File systems allow names of at most 255 octets."""
    assert store.place(spec(name="a" * 221), RUN)
    with pytest.raises(UsageFault, match="too long for the name of a backup file") as caught:
        store.place(spec(name="a" * 222), RUN)
    assert "--name" in caught.value.hint


def test_a_recorded_path_that_no_file_can_have_is_no_backup(
    store: AgeFiles, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its length or a null character says so. If the system cannot tell, that is an error."""
    assert store.find(replace(entry_in(store), backup="A" * 100_000)) is None
    for name in ("A" * 300, "A\0"):
        assert not LOCAL.file(tmp_path / name).is_there()

    def stat(_: Path, **__: bool) -> None:
        raise OSError(errno.EIO, "in the words of the test")

    monkeypatch.setattr(Path, "stat", stat)
    with pytest.raises(IntegrityFault, match="picture cannot be read: Input/output error"):
        LOCAL.file(tmp_path / "picture").is_there()


@pytest.mark.parametrize("name", ["a" * 221, "A" * 73])
def test_the_longest_names_can_be_backed_up(name: str, store: AgeFiles) -> None:
    """The name of the partial file is shorter than that of the backup."""
    entry = entry_in(store, name=name, user="U" * 64)
    store.seal(entry, URI)
    assert [path.name for path in place_of(entry).parent.iterdir()] == [place_of(entry).name]


def ssh_text(*fields: bytes) -> str:
    """Return an SSH public key (RFC 4253, 6.6): its name, then its numbers."""
    octets = b"".join(len(each).to_bytes(4) + each for each in fields)
    return f"{fields[0].decode()} {base64.b64encode(octets).decode()}"


# Points of Ed25519 whose order divides eight, some with the sign bit of x set or with an unreduced number.
EIGHTH = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"
SMALL_POINTS = [
    bytes(32),
    (1).to_bytes(32, "little"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
    (2**255 + 1).to_bytes(32, "little"),
    bytes.fromhex(EIGHTH),
    bytes.fromhex(f"{EIGHTH[:-2]}85"),
]
BAD_RSA = [(b"", b""), (b"\x03", b""), (b"\x01\x00\x01", bytes(10)), (b"\x03", bytes(256)), (b"\x03", b"\x7f" * 20)]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "alice",
        "age1",
        "age1qqqqqqqqqq",
        "age1tag1qqqqqqqq",
        "ssh-ed25519 AAAA",
        "ssh-rsa",
        "ecdsa-sha2-nistp256 AAAA",
        "age1yubikey1qqqqqq",
        "age1\udcef",
        "ssh-ed25519 \udcef",
        "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z",
        *(ssh_text(b"ssh-ed25519", point) for point in SMALL_POINTS),
        *(ssh_text(b"ssh-rsa", *numbers) for numbers in BAD_RSA),
    ],
)
def test_a_text_that_is_not_a_recipient_is_refused(text: str) -> None:
    """The error shows the text and a valid form."""
    with pytest.raises(UsageFault, match="is not a recipient") as caught:
        parse_recipients([text])
    assert str(caught.value).startswith(f"-r {text}")
    assert "age1" in caught.value.hint


def test_a_file_in_place_of_a_recipient_is_named(ssh_keys: Path, identity_file: Path) -> None:
    """The hint has the option for files. For an SSH private key, it names the public key beside it."""
    for file, hint in (
        (identity_file, f"for a file, use -R: -R {identity_file}"),
        (ssh_keys / "rsa.pub", f"for a file, use -R: -R {ssh_keys}/rsa.pub"),
        (ssh_keys / "rsa", f"give its public key, which is beside it: -R {ssh_keys}/rsa.pub"),
    ):
        with pytest.raises(UsageFault, match=rf"-r {file} is a file") as caught:
            parse_recipients([str(file)])
        assert caught.value.hint == hint
    with pytest.raises(UsageFault, match="the recipient is a private key") as caught:
        parse_recipients([], [ssh_keys / "ed25519"])
    assert caught.value.hint == f"give its public key, which is beside it: -R {ssh_keys}/ed25519.pub"
    assert parse_recipients([], [Path(caught.value.hint.rpartition(" ")[2])])
    with pytest.raises(UsageFault, match="is not a recipient"):
        parse_recipients(["x" * 5000])


def test_the_program_that_prints_the_public_key_is_named(ssh_keys: Path, identity_file: Path, tmp_path: Path) -> None:
    """The recipient is a private key by mistake. The command prints a recipient."""
    alone = tmp_path / "a key"
    alone.write_bytes((ssh_keys / "ed25519").read_bytes())
    alone.chmod(0o600)
    for file in (alone, identity_file):
        with pytest.raises(UsageFault, match="the recipient is a private key") as caught:
            parse_recipients([], [file])
        _, _, command = caught.value.hint.partition(": ")
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)
        assert parse_recipients([done.stdout])


def test_surplus_octets_do_not_hide_a_weak_ssh_key(ssh_keys: Path) -> None:
    """Pyrage ignores what follows a key, so the weak key would be used. An honest key with surplus is refused too."""
    for point in SMALL_POINTS:
        weak = base64.b64decode(ssh_text(b"ssh-ed25519", point).split()[1])
        for surplus in (b"xx", b"\0\0\0\0", b"\0\0\0\1x", bytes(32), b"\x58" + bytes(31) + b"\x66"):
            with pytest.raises(UsageFault, match="is not a recipient: the key is damaged"):
                parse_recipients([f"ssh-ed25519 {base64.b64encode(weak + surplus).decode()} comment"])
    for kind in ("ed25519", "rsa"):
        name, encoded = (ssh_keys / f"{kind}.pub").read_text().split()[:2]
        for octets in (base64.b64decode(encoded) + b"xx", base64.b64decode(encoded) + bytes(4)):
            with pytest.raises(UsageFault, match="the key is damaged"):
                parse_recipients([f"{name} {base64.b64encode(octets).decode()}"])
        for text in (f"{name} {encoded}!", f"{name} {encoded[:-4]}", f"{name} AAAA{encoded}"):
            with pytest.raises(UsageFault, match="the key is damaged"):
                parse_recipients([text])


@pytest.mark.parametrize(
    ("how", "why"),
    [
        (["ecdsa"], "ecdsa-sha2-nistp256 keys cannot decrypt a file"),
        (["rsa", "-b", "1024"], "it has 1024 bits, and 2048 to 4096 are supported"),
    ],
)
def test_the_reason_why_an_ssh_key_is_not_a_recipient_is_named(how: list[str], why: str, tmp_path: Path) -> None:
    """ssh-keygen makes these keys, and its user cannot see why they do not work."""
    subprocess.run([judge("ssh-keygen"), "-q", "-N", "", "-f", tmp_path / "key", "-t", *how], check=True)
    with pytest.raises(UsageFault, match=f"is not a recipient: {why}"):
        parse_recipients([], [tmp_path / "key.pub"])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("sk-ssh-ed25519@openssh.com AAAA", "sk-ssh-ed25519@openssh.com keys cannot decrypt a file"),
        ("ssh-ed25519-cert-v01@openssh.com AAAA", "ssh-ed25519-cert-v01@openssh.com keys cannot decrypt a file"),
        ("ssh-dss AAAA", "ssh-dss keys cannot decrypt a file"),
        ("no-pty ssh-ed25519 AAAA", "there is text before the key"),
        (ssh_text(b"ssh-rsa", b"\3", b"\x7f" * 1024), "it has 8191 bits, and 2048 to 4096 are supported"),
        ("ssh-ed25519", "the key is damaged, was cut off, or has something behind it"),
        ("ssh-rsa AAAAB3NzaC1yc2E", "the key is damaged, was cut off, or has something behind it"),
        (ssh_text(b"ssh-ed25519", bytes(32)), "anyone can decrypt what is encrypted to this weak key"),
    ],
)
def test_the_reason_why_a_text_is_not_a_recipient_is_named(text: str, why: str) -> None:
    with pytest.raises(UsageFault, match=f"is not a recipient: {why}"):
        parse_recipients([text])


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_a_recipients_file_of_a_windows_editor_is_read(coding: str, recipient: str, tmp_path: Path) -> None:
    """PowerShell writes UTF-16, and Notepad wrote a byte order mark."""
    (tmp_path / "listed.txt").write_bytes(f"{recipient}\n".encode(coding))
    assert [each.text for each in parse_recipients([], [tmp_path / "listed.txt"])] == [recipient]


def test_an_invalid_line_in_a_recipient_file_is_named_by_number(tmp_path: Path, recipient: str) -> None:
    """The error has the number of the line, but not its text, because the text may be a secret."""
    listed = tmp_path / "recipients.txt"
    listed.write_text(f"# one\n{recipient}\n\nnonsense\n")
    with pytest.raises(UsageFault, match=f"line 4 of {listed} is not a recipient"):
        parse_recipients([], [listed])


@pytest.mark.parametrize("octets", [b"", b"# nobody\n\n", b"\n"])
def test_a_file_without_recipients_is_refused(octets: bytes, tmp_path: Path) -> None:
    """A backup without a recipient could not be decrypted."""
    (tmp_path / "none.txt").write_bytes(octets)
    with pytest.raises(UsageFault, match="contains no recipient"):
        parse_recipients([], [tmp_path / "none.txt"])


@pytest.mark.parametrize("name", ["missing.txt", "", "latin.txt"])
def test_an_unreadable_recipient_file_is_an_error(name: str, tmp_path: Path) -> None:
    """Cases: a missing file, a folder, and a file that is not text."""
    (tmp_path / "latin.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(UsageFault, match="cannot be read") as caught:
        parse_recipients([], [tmp_path / name])
    assert "-R" in caught.value.hint


def test_an_identity_as_recipient_is_refused_and_not_printed(
    identity: pyrage.x25519.Identity, tmp_path: Path, ssh_keys: Path
) -> None:
    """An identity is secret, so the message contains no part of it, for `-r` and for `-R`."""
    (tmp_path / "listed.txt").write_text(f"{identity}\n")
    private = (ssh_keys / "ed25519").read_text()
    for texts, files in (
        ([str(identity)], []),
        ([f" {identity}"], []),
        ([str(identity).lower()], []),
        ([private], []),
        ([], [tmp_path / "listed.txt"]),
        ([], [ssh_keys / "ed25519"]),
    ):
        with pytest.raises(UsageFault, match="is a private key") as caught:
            parse_recipients(texts, files)
        said = f"{caught.value} {caught.value.hint}"
        assert str(identity).lower() not in said.lower()
        assert private.splitlines()[1] not in said


def test_tag_recipients_alone_are_refused(recipient: str) -> None:
    """Debian's age cannot decrypt to them. Together with another kind of recipient they are accepted."""
    with pytest.raises(UsageFault, match="is an age1tag key") as caught:
        parse_recipients([TAG])
    assert "add an age1" in caught.value.hint
    assert len(parse_recipients([TAG, recipient])) == 2


def test_age_decrypts_a_backup_that_also_has_a_tag_recipient(
    recipient: str, identity_file: Path, tmp_path: Path
) -> None:
    """Debian's age skips the stanza of a type that it does not know."""
    store = AgeFiles(tmp_path, parse_recipients([recipient, TAG]))
    entry = entry_in(store)
    store.seal(entry, URI)
    assert symbol.read(opened(place_of(entry), identity_file)) == URI


# The generator of P-256 (SEC 2, 2.4.2), uncompressed.
P256 = "BGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU="
# A recipient of a post-quantum key on hardware: a key of ML-KEM-768 whose coefficients are zero, and a point of P-256.
TAG_PQ = bech32("age1tagpq", bytes(1184) + base64.b64decode(P256))


def test_a_post_quantum_tag_recipient_is_encrypted_to(tmp_path: Path, recipient: str) -> None:
    """The file has a stanza of its type (C2SP, age.md). age allows no other kind of recipient beside it."""
    place = sealed(tmp_path, TAG_PQ)
    assert place.read_bytes().startswith(b"age-encryption.org/v1\n-> mlkem768p256tag ")
    for texts in ([TAG_PQ, recipient], [TAG, TAG_PQ]):
        with pytest.raises(UsageFault, match="does not encrypt to an age1tagpq key and another key together") as caught:
            parse_recipients(texts)
        assert caught.value.hint == "give only age1tagpq… recipients, or none"
    with pytest.raises(UsageFault, match="is not a recipient"):
        parse_recipients([TAG_PQ[:-1]])


def test_a_post_quantum_recipient_is_refused_with_the_reason() -> None:
    """The message names no plugin, because age itself needs none."""
    text = bech32("age1pq", bytes(1216))
    with pytest.raises(UsageFault) as caught:
        parse_recipients([text])
    assert str(caught.value) == f"-r {text} is a post-quantum key of age 1.3 (age1pq…), which mfa-kit does not support"
    assert caught.value.hint == "give an age1…, age1tagpq… or SSH key"


@pytest.mark.parametrize("coding", ["utf-8-sig", "utf-16"])
def test_an_identity_with_a_byte_order_mark_is_refused_with_the_reason(
    coding: str, tmp_path: Path, identity: pyrage.x25519.Identity
) -> None:
    """Debian's age cannot read the file either, so the user should correct it before it is needed."""
    (tmp_path / "id.txt").write_bytes(f"{identity}\n".encode(coding))
    done = subprocess.run([judge("age"), "-d", "-i", tmp_path / "id.txt"], input=b"age-encryption.org/v1\n",
                          capture_output=True, check=False)  # fmt: skip
    assert b"unknown identity type" in done.stderr
    with pytest.raises(UsageFault, match=r"id.txt begins with a byte order mark") as caught:
        read_identities([tmp_path / "id.txt"])
    assert caught.value.hint == "save it as UTF-8 without a byte order mark"


def pkcs8(key: Any, file: Path) -> Path:
    """Write a private key as PKCS#8 without a passphrase."""
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    file.chmod(0o600)
    return file


@pytest.mark.parametrize(
    "key", [ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 2048)], ids=["ed25519", "rsa"]
)
def test_a_pkcs8_key_decrypts_a_backup(key: Any, tmp_path: Path) -> None:
    """Age decrypts with the same file."""
    file = pkcs8(key, tmp_path / "key.pem")
    place = sealed(tmp_path, key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode())
    assert symbol.read(opened(place, file)) == URI
    assert symbol.read(open_backup(place, read_identities([file], unlock_ssh=unlock_ssh_key))) == URI


@pytest.mark.parametrize(
    "key", [x25519.X25519PrivateKey.generate(), ec.generate_private_key(ec.SECP256R1())], ids=["x25519", "ec"]
)
def test_a_pkcs8_key_that_cannot_decrypt_is_an_error(key: Any, tmp_path: Path) -> None:
    """Age refuses these keys too."""
    with pytest.raises(UsageFault, match="contains no usable identity"):
        read_identities([pkcs8(key, tmp_path / "key.pem")], unlock_ssh=unlock_ssh_key)


@pytest.mark.parametrize(
    "octets",
    [b"", b"# only a comment\n", b"AGE-SECRET-KEY-1QQQQ\n", b"\xff\xff", b"-----BEGIN OPENSSH PRIVATE KEY-----\nx"],
)
def test_a_file_without_a_usable_identity_is_an_error(octets: bytes, tmp_path: Path) -> None:
    """The error quotes nothing from the file."""
    (tmp_path / "identity.txt").write_bytes(octets)
    with pytest.raises(UsageFault, match="contains no usable identity") as caught:
        read_identities([tmp_path / "identity.txt"])
    assert "QQQQ" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize("how", [["-t", "ed25519"], ["-t", "rsa", "-m", "PEM"]], ids=["openssh", "pem"])
def test_an_ssh_key_with_a_passphrase_is_an_error(how: list[str], tmp_path: Path) -> None:
    """It is one where no one can be asked for the passphrase. The hint names age, which asks."""
    arguments: list[str | Path] = ["-q", *how, "-N", "secret words", "-f", tmp_path / "key"]
    subprocess.run([judge("ssh-keygen"), *arguments], check=True)
    with pytest.raises(UsageFault, match="is an SSH key with a passphrase") as caught:
        read_identities([tmp_path / "key"])
    assert "age -d -i" in caught.value.hint


SSH_KINDS = {
    "ed25519": ["-t", "ed25519", "-a", "1"],
    "rsa": ["-t", "rsa", "-b", "2048", "-a", "1"],
    "pem": ["-t", "rsa", "-b", "2048", "-m", "PEM"],
}


def locked_key(kind: str, folder: Path) -> Path:
    """Return the file of a new SSH key with the passphrase `secret words`."""
    file = folder / kind
    subprocess.run([judge("ssh-keygen"), "-q", *SSH_KINDS[kind], "-N", "secret words", "-f", file], check=True)
    return file


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ed25519", "rsa", "pem"])
def test_an_ssh_key_with_a_passphrase_decrypts_a_backup(kind: str, tmp_path: Path) -> None:
    """The passphrase is asked for again after a wrong one. The file of the key stays as it is."""
    file = locked_key(kind, tmp_path)
    before = file.read_bytes()
    place = sealed(tmp_path, file.with_name(f"{kind}.pub").read_text())
    answers = [Secret("wrong"), Secret("secret words")]
    keys = read_identities([file], lambda _: answers.pop(0), retry=lambda _: True, unlock_ssh=unlock_ssh_key)
    assert (symbol.read(open_backup(place, keys)), file.read_bytes()) == (URI, before)
    assert answers == []
    with pytest.raises(UsageFault, match="wrong passphrase for"):
        read_identities([file], lambda _: Secret("wrong"), unlock_ssh=unlock_ssh_key)


def test_a_damaged_ssh_key_with_a_passphrase_is_an_error(tmp_path: Path) -> None:
    """Each change ends with a UsageFault, and never opens the key."""
    whole, dice = locked_key("ed25519", tmp_path).read_bytes(), random.Random(3)
    for _ in range(30):
        damaged = bytearray(whole)
        for _ in range(dice.choice([1, 3])):
            # The first 200 characters have the number of rounds, and more of them would only take longer.
            damaged[dice.randrange(200, len(damaged) - 40)] = dice.randrange(256)
        if damaged == whole:
            continue
        (tmp_path / "damaged").write_bytes(damaged)
        with pytest.raises(UsageFault):
            read_identities([tmp_path / "damaged"], lambda _: Secret("x"), unlock_ssh=unlock_ssh_key)


@pytest.mark.parametrize("salt", [16, 300])
def test_an_ssh_key_that_takes_minutes_is_refused(salt: int) -> None:
    """The number of rounds is in the key after the salt, before it is tried. A long salt does not hide it."""
    options = salt.to_bytes(4) + bytes(salt) + (1 << 30).to_bytes(4)
    parts = (b"aes256-ctr", b"bcrypt", options)
    content = b"openssh-key-v1\0" + b"".join(len(part).to_bytes(4) + part for part in parts)
    text = (
        b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + base64.b64encode(content) + b"\n-----END OPENSSH PRIVATE KEY-----\n"
    )
    with pytest.raises(UsageFault, match="more than 1024 bcrypt rounds"):
        unlock_ssh_key(Secret(text), Secret("x"))
    assert unlock_ssh_key(Secret(text.replace(b"b3Bl", b"b")), Secret("x")) is None


def sealed(folder: Path, recipient: str) -> Path:
    store = AgeFiles(folder / "backups", parse_recipients([recipient.strip()]))
    entry = entry_in(store)
    store.seal(entry, URI)
    return place_of(entry)


def test_a_missing_identity_file_is_an_error(tmp_path: Path) -> None:
    """The error contains the name of the file."""
    with pytest.raises(UsageFault, match="No such file"):
        read_identities([tmp_path / "identity.txt"])


def test_a_backup_for_other_recipients_is_an_error(tmp_path: Path, recipient: str) -> None:
    """The message says that the backup is intact but encrypted to other recipients."""
    path = sealed(tmp_path, recipient)
    with pytest.raises(IntegrityFault, match="encrypted to a different key"):
        open_backup(path, Secret([pyrage.x25519.Identity.generate()]))


def test_a_damaged_backup_is_an_error(tmp_path: Path, recipient: str, identity: pyrage.x25519.Identity) -> None:
    """The file is cut short, or one bit is flipped."""
    path = sealed(tmp_path, recipient)
    whole = path.read_bytes()
    for broken in (whole[:-10], whole[:40], whole[:-1] + bytes([whole[-1] ^ 1])):
        path.write_bytes(broken)
        with pytest.raises(IntegrityFault, match="is damaged"):
            open_backup(path, Secret([identity]))


@pytest.mark.parametrize("octets", [b"", b"\x89PNG", b"-----BEGIN AGE ENCRYPTED FILE-----", bytes(LARGEST + 1)])
def test_a_file_of_another_format_is_not_a_backup(
    octets: bytes, tmp_path: Path, identity: pyrage.x25519.Identity
) -> None:
    """A file that is too large is not read into memory."""
    (tmp_path / "a.png.age").write_bytes(octets)
    with pytest.raises(IntegrityFault, match="is not a backup"):
        open_backup(tmp_path / "a.png.age", Secret([identity]))


def test_a_backup_is_not_read_through_a_symlink(
    tmp_path: Path, recipient: str, identity: pyrage.x25519.Identity
) -> None:
    """A missing backup is an error too."""
    (tmp_path / "link").symlink_to(sealed(tmp_path, recipient))
    for name in ("link", "missing"):
        with pytest.raises(IntegrityFault, match="cannot be read"):
            open_backup(tmp_path / name, Secret([identity]))


def test_backups_are_found_by_their_paths(store: AgeFiles, tmp_path: Path) -> None:
    """Names are returned as IAM spells them. Other files and symlinks are skipped."""
    for user, name in (("bob", "bob"), ("Alice", "my.Phone"), ("Alice", "my-phone-2")):
        store.seal(entry_in(store, user=user, name=name), URI)
    folder = tmp_path / "backups" / "000000000000" / "bob"
    (folder / "notes.png.age").touch()
    (folder / f"link-{RUN}.png.age").symlink_to(folder / f"bob-{RUN}.png.age")
    found = list(find_backups(tmp_path / "backups", LOCAL))
    assert [(each.user, each.device) for each in found] == [
        ("Alice", "my.Phone"),
        ("Alice", "my-phone-2"),
        ("bob", "bob"),
    ]
    assert {(each.account, each.run, each.made) for each in found} == {("000000000000", RUN, 1795564800.0)}
    assert list(find_backups(tmp_path / "nowhere", LOCAL)) == []


@pytest.mark.usefixtures("open_umask")
def test_a_new_file_is_private_and_overwrites_none(tmp_path: Path) -> None:
    """Pictures that the user asked for are written by this function."""
    write_new(tmp_path / "qr.png", b"one")
    assert stat.S_IMODE((tmp_path / "qr.png").stat().st_mode) == 0o600
    with pytest.raises(IntegrityFault, match="already exists"):
        write_new(tmp_path / "qr.png", b"two")
    assert (tmp_path / "qr.png").read_bytes() == b"one"
    assert [path.name for path in tmp_path.iterdir()] == ["qr.png"]


@pytest.mark.parametrize("change", [bytes, lambda armored: b"\n" + armored.replace(b"\n", b"\r\n") + b"\n"])
def test_an_armored_backup_is_read(change: Any, recipient: str, identity_file: Path, tmp_path: Path) -> None:
    """`age -a` writes such a file, for example to send it by mail."""
    picture = symbol.png(URI)
    command = [judge("age"), "-a", "-r", recipient]
    armored = subprocess.run(command, input=picture.reveal(), capture_output=True, check=True).stdout
    assert armored.startswith(b"-----BEGIN AGE ENCRYPTED FILE-----")
    (tmp_path / "backup.png.age").write_bytes(change(armored))
    assert open_backup(tmp_path / "backup.png.age", read_identities([identity_file])) == picture


@pytest.mark.parametrize("body", [b"", b"!!!!", b"AAAA", b"YWdlLWVuY3J5cHRpb24ub3JnL3YxCg=="])
def test_damaged_armor_is_an_error_message(body: bytes, identity_file: Path, tmp_path: Path) -> None:
    damaged = b"-----BEGIN AGE ENCRYPTED FILE-----\n%s\n-----END AGE ENCRYPTED FILE-----\n" % body
    (tmp_path / "backup.png.age").write_bytes(damaged)
    with pytest.raises(IntegrityFault, match=r"is not an age file|is damaged"):
        open_backup(tmp_path / "backup.png.age", read_identities([identity_file]))


def test_an_armored_identity_asks_for_its_passphrase(tmp_path: Path) -> None:
    """The scrypt work factor is checked too, although the header is encoded in the armor."""
    identity, file = pyrage.x25519.Identity.generate(), tmp_path / "identity"
    file.write_bytes(pyrage.passphrase.encrypt(f"{identity}\n".encode(), "correct horse", armored=True))
    (found,) = read_identities([file], lambda _: Secret("correct horse")).reveal()
    assert str(found) == str(identity)
    binary = pyrage.passphrase.encrypt(f"{identity}\n".encode(), "correct horse")
    slow = re.sub(rb"(-> scrypt \S+) \d+\n", rb"\1 30\n", binary)
    lines = re.findall(".{1,64}", base64.b64encode(slow).decode())
    armor = "-----BEGIN AGE ENCRYPTED FILE-----", *lines, "-----END AGE ENCRYPTED FILE-----"
    file.write_text("\n".join(armor))
    with pytest.raises(UsageFault, match="scrypt work factor above 20"):
        read_identities([file], lambda _: Secret("correct horse"))
    with pytest.raises(UsageFault, match="scrypt work factor above 20"):
        unlock_identity(file, Secret("correct horse"))

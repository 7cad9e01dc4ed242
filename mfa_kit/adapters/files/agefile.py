"""Sealed backups: one age file a device (age-encryption.org/v1), a picture of its QR code inside.

Files are 0600, folders 0700, symlinks refused. A file appears whole under its name or not at all, never over another.
"""

import errno
import fcntl
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import pyrage

from mfa_kit.core.errors import IntegrityFault, OthersSeal, UsageFault
from mfa_kit.core.models import Backup, Entry, Intent, run_time
from mfa_kit.core.otp import KeyUri, Png, Secret
from mfa_kit.qr_codes import symbol

SUFFIX = ".png.age"
# Within the folder of backups: a copy for each user who has a recipient of his own, sealed to nobody else.
OWN = "users"
# A named pipe would be waited for.
READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
# A sealed QR code is some kilobytes; a megabyte is no backup of ours.
LARGEST = 1 << 20
MAGIC = b"age-encryption.org/v1"
NAME_MAX = 255
NOT_FOR_US = "No matching keys"
NAME = re.compile(r"(?P<device>.+)-(?P<run>\d{8}T\d{6}Z-[0-9a-f]{8})\.png\.age")

Identity = pyrage.x25519.Identity | pyrage.ssh.Identity


@dataclass(frozen=True, slots=True)
class Recipient:
    """Who can open a backup: the text of the public key, without a comment, and the key."""

    text: str
    key: pyrage.x25519.Recipient | pyrage.ssh.Recipient | pyrage.tag.Recipient


def part(text: str) -> str:
    """One safe part of a path: all but a-z, 0-9, _ and - percent-encoded, so `..` and case twins stay apart."""
    return "".join(char if re.fullmatch(r"[a-z0-9_-]", char) else f"%{ord(char):02X}" for char in text)


def recipients(texts: Iterable[str], files: Iterable[Path] = (), *, given: str = "-r") -> list[Recipient]:
    """Parse `-r` and `-R`. Raise UsageFault for the first that is none, with how it was given, or its file and line."""
    found = [_recipient(text, where=f"{given} {text}") for text in texts]
    for file in files:
        try:
            lines = file.read_text("utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageFault(
                f"the recipients file {file} cannot be read: {_reason(error)}", "name one that you can read: -R FILE"
            ) from None
        rows = [(number, line.strip()) for number, line in enumerate(lines, 1)]
        chosen = [(number, line) for number, line in rows if line and not line.startswith("#")]
        if not chosen:
            raise UsageFault(f"there is no recipient in {file}", "put one on a line: age1… or an SSH public key")
        found += [_recipient(line, where=f"{file}, line {number}") for number, line in chosen]
    if found and all(isinstance(one.key, pyrage.tag.Recipient) for one in found):
        raise UsageFault(
            "every recipient is of the age1tag kind, which Debian's age 1.2 cannot open",
            "add a recipient of the age1… or SSH kind beside it",
        )
    return found


def _recipient(text: str, *, where: str) -> Recipient:
    kinds = (
        ("age1tag1", pyrage.tag.Recipient),
        ("age1", pyrage.x25519.Recipient),
        ("ssh-ed25519 ", pyrage.ssh.Recipient),
        ("ssh-rsa ", pyrage.ssh.Recipient),
    )
    if "AGE-SECRET-KEY-" in text.upper() or "PRIVATE KEY" in text:
        raise UsageFault(
            "an identity, which is secret, was given as a recipient", "give the public key: age-keygen -y FILE"
        )
    for prefix, kind in kinds:
        if text.startswith(prefix):
            try:
                return Recipient(" ".join(text.split()[:2]), kind.from_str(text))
            except pyrage.RecipientError:
                break
    raise UsageFault(
        f"{where} is not a recipient", "give an age recipient (age1…) or an SSH public key (ssh-ed25519, ssh-rsa)"
    )


Ask = Callable[[Path], Secret[str]]


def identities(files: Iterable[Path], ask: Ask | None = None) -> Secret[list[Identity]]:
    """Read identity files: `AGE-SECRET-KEY-1…` lines, or one SSH private key without a passphrase.

    A file of the former that is sealed by a passphrase is opened with the one that `ask` gives. Raise UsageFault.
    """
    return Secret([identity for file in files for identity in _identities(file, ask)])


def _identities(file: Path, ask: Ask | None) -> list[Identity]:
    try:
        text = Secret(file.read_bytes())
    except OSError as error:
        raise UsageFault(
            f"the identity file {file} cannot be read: {_reason(error)}", "name one that you can read: -i FILE"
        ) from None
    if ask and text.reveal().startswith(MAGIC):
        try:
            text = Secret(pyrage.passphrase.decrypt(text.reveal(), ask(file).reveal()))
        except pyrage.DecryptError:
            raise UsageFault(f"this passphrase does not open {file}", "try again") from None
    try:
        if b"PRIVATE KEY-----" in text.reveal():
            return [_ssh(file, text)]
        found: list[Identity] = [
            pyrage.x25519.Identity.from_str(line.reveal().strip())
            for line in map(Secret, text.reveal().decode().splitlines())
            if line.reveal().strip() and not line.reveal().startswith("#")
        ]
    except (pyrage.IdentityError, UnicodeDecodeError):
        found = []
    if not found:
        raise UsageFault(
            f"{file} holds no identity that can be used",
            "give a file of age-keygen, or an SSH private key without a passphrase",
        )
    return found


def _ssh(file: Path, text: Secret[bytes]) -> Identity:
    try:
        return pyrage.ssh.Identity.from_buffer(text.reveal())
    except pyrage.IdentityError as error:
        if not any(word in str(error) for word in ("decrypted", "EncryptedPem")):
            raise
    raise UsageFault(
        f"{file} is an SSH key with a passphrase, which is not asked for here",
        f"give another identity, or open the backup with age itself: age -d -i {file} BACKUP",
    )


def publics(keys: Secret[list[Identity]]) -> list[str | None]:
    """Return each identity's recipient; None for an SSH key, which does not tell whose it is."""
    return [str(key.to_public()) if isinstance(key, pyrage.x25519.Identity) else None for key in keys.reveal()]


def apart(
    keys: Secret[list[Identity]], recipients: Iterable[str]
) -> tuple[Secret[list[Identity]], Secret[list[Identity]] | None]:
    """Return the identities that are none of these recipients', or all where each is, and those that are, if any is."""
    texts, told = frozenset(recipients), publics(keys)
    others = Secret([key for key, text in zip(keys.reveal(), told, strict=True) if text not in texts])
    theirs = Secret([key for key, text in zip(keys.reveal(), told, strict=True) if text in texts])
    return others if others.reveal() else keys, theirs if theirs.reveal() else None


class Made:
    """A new X25519 identity, which leaves this object sealed only."""

    def __init__(self) -> None:
        self._identity = Secret(pyrage.x25519.Identity.generate())
        self.recipient = str(self._identity.reveal().to_public())

    def sealed(self, passphrase: Secret[str]) -> bytes:
        """Return the file that `age-keygen | age -p` would give."""
        text = Secret(f"# public key: {self.recipient}\n{self._identity.reveal()}\n".encode())
        return pyrage.passphrase.encrypt(text.reveal(), passphrase.reveal())


def open_backup(path: Path, keys: Secret[list[Identity]]) -> Png:
    """Decrypt a backup. Raise IntegrityFault when it cannot be read, or not with these identities."""
    try:
        file = os.open(path, READING)
        return _opened(path, _octets(file), keys)
    except OSError as error:
        raise IntegrityFault(
            f"the backup {path} cannot be read: {_reason(error)}", "see: mfa-kit backup list"
        ) from None


def _octets(file: int) -> bytes:
    with os.fdopen(file, "rb") as opened:
        return opened.read(LARGEST + 1)


def _opened(path: Path, sealed: bytes, keys: Secret[list[Identity]]) -> Png:
    if len(sealed) > LARGEST or not sealed.startswith(MAGIC):
        raise IntegrityFault(f"{path} is not a backup: it is no age file", "see: mfa-kit backup list")
    try:
        return Png(pyrage.decrypt(sealed, keys.reveal()))
    except pyrage.DecryptError as error:
        if NOT_FOR_US in str(error):
            raise OthersSeal(f"{path} is sealed for other identities", "give another one with -i") from None
        raise IntegrityFault(f"{path} is damaged and does not open", "use another copy") from None


def backups(folder: Path) -> Iterator[Backup]:
    """Yield the backups below a folder, by account and user; files of other names are passed over."""
    for path in sorted(folder.glob(f"*/*/*{SUFFIX}")):
        if (backup := told(path)) and not path.is_symlink():
            yield backup


def told(path: Path) -> Backup | None:
    """Read what the path of a backup tells; None when it is not the name of one."""
    name = NAME.fullmatch(path.name)
    if name is None:
        return None
    try:
        run_time(name["run"])
    except ValueError:  # anybody may name a file like this: no month has 99 days
        return None
    user, account = (unquote(above.name) for above in path.absolute().parents[:2])
    return Backup(account=account, user=user, device=unquote(name["device"]), run=name["run"], path=path)


def write_new(path: Path, data: bytes | Secret[bytes], *, folders: bool = False) -> None:
    """Write a file, 0600, durably and never over another; with `folders` also those that it is missing.

    Raise IntegrityFault; nothing is left behind then.
    """
    with _plain(path), (_folder if folders else _existing)(path.parent) as folder:
        _write(folder, path.name, data)


def seal_text(path: Path, text: Secret[str], to: list[Recipient]) -> None:
    """Seal a short text to a new file. Raise IntegrityFault; nothing is left behind then."""
    write_new(path, pyrage.encrypt(text.reveal().encode(), [each.key for each in to]))


class AgeFiles:
    """The Vault: a folder of backups for a list of recipients. Without a recipient nothing is sealed.

    A user with a recipient of his own has a copy besides, or the only one: in the folder `users`, sealed to him alone.
    """

    def __init__(self, folder: Path, to: list[Recipient]) -> None:
        self._folder, self._to = folder.absolute(), to

    def place(self, intent: Intent, run: str) -> str | None:
        if self._to:
            path = self.new(intent.account, intent.user, intent.name, run=run).path
            if os.path.lexists(path):  # what is undone is removed, and this is not ours
                raise IntegrityFault(f"{path} is there already", "move it away, for no backup is written over")
            return str(path)
        return self._own(intent.recipient).place(replace(intent, recipient=None), run) if intent.recipient else None

    def _own(self, recipient: str) -> "AgeFiles":
        return AgeFiles(self._folder / OWN, recipients([recipient]))

    def new(self, account: str, user: str, device: str, *, run: str) -> Backup:
        """Say where a backup will be. Raise UsageFault for a name that no file can have."""
        path = self._folder / part(account) / part(user) / f"{part(device)}-{run}{SUFFIX}"
        if len(path.name) > NAME_MAX:
            raise UsageFault(f"{device} is too long for the name of a backup file", "choose a shorter --name")
        return Backup(account=account, user=user, device=device, run=run, path=path)

    def recipients(self) -> list[str]:
        return [each.text for each in self._to]

    def find(self, entry: Entry) -> str | None:
        usual = self.new(entry.intent.account, entry.intent.user, entry.intent.name, run=entry.run)
        places = [*([Path(entry.backup)] if entry.backup else []), usual.path]
        if entry.intent.recipient:
            places += [_users(place) for place in places]
        return next((str(place) for place in places if place.is_file()), None)

    def check(self) -> None:
        """Look at the nearest folder that is there: a folder of its own kind, that we may write."""
        nearest = next(each for each in (self._folder, *self._folder.parents) if os.path.lexists(each))
        if os.path.islink(self._folder):  # noqa: PTH114 - Path's raises where we may not look
            raise UsageFault(f"the backup folder {self._folder} is a symlink", "give the folder itself: --backup-dir")
        if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
            raise UsageFault(f"{nearest} is not a folder that you can write to", "give another one: --backup-dir")

    def seal(self, entry: Entry, uri: KeyUri) -> None:
        if entry.backup is None:
            return
        intent, path = entry.intent, Path(entry.backup)
        backup = Backup(account=intent.account, user=intent.user, device=intent.name, run=entry.run, path=path)
        picture = symbol.png(uri, caption=_caption(backup))
        if self._to:
            _put(self._folder, backup, picture, self._to)
        if intent.recipient:
            own = replace(backup, path=_users(path))
            _put(self._folder / OWN, own, picture, recipients([intent.recipient]))

    def keep(self, backup: Backup, uri: KeyUri) -> None:
        """Seal a picture of a key URI; never over another file."""
        _put(self._folder, backup, symbol.png(uri, caption=_caption(backup)), self._to)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Hold the folder for what changes all of it. Raise IntegrityFault while another process does."""
        with _plain(self._folder), _existing(self._folder) as folder:
            _hold(folder, self._folder)
            yield

    def rekey(self, backup: Backup, keys: Secret[list[Identity]], *, proof: Secret[list[Identity]]) -> bool:
        """Seal a backup that `keys` open for our recipients; tell whether one of `proof` opens it then.

        The new file is written beside the old one, read back, and takes its name in one step.
        """
        path = backup.path
        with _plain(path), self._holding(path) as folder:
            file = os.open(path.name, READING, dir_fd=folder)
            status = os.fstat(file)
            picture = _opened(path, _octets(file), keys)
            sealed = pyrage.encrypt(picture.reveal(), [each.key for each in self._to])
            with _beside(folder, path.name, sealed) as partial:
                written = _octets(os.open(partial, READING, dir_fd=folder))
                if written != sealed:
                    raise IntegrityFault(f"{path} does not read back as it was written", "check the disk")
                opens = _opens(path, written, proof, picture)
                now = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
                if (now.st_dev, now.st_ino) != (status.st_dev, status.st_ino):
                    raise IntegrityFault(f"{path} was changed by somebody else just now", "run this again")
                os.rename(partial, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            os.fsync(folder)
        return opens

    def discard(self, backup: Backup) -> None:
        """Remove a backup for good."""
        with _plain(backup.path), self._holding(backup.path) as folder:
            os.unlink(backup.path.name, dir_fd=folder)
            os.fsync(folder)

    def _holding(self, path: Path) -> AbstractContextManager[int]:
        """Open the folder in which a backup of ours is, without following a symlink."""
        return _existing(self._folder, *path.absolute().relative_to(self._folder).parts[:-1])

    def remove(self, entry: Entry) -> None:
        if entry.backup is None:
            return
        path = Path(entry.backup)
        for copy in (path, _users(path)) if entry.intent.recipient else (path,):
            self._remove(copy, sealed=entry.sealed)

    def _remove(self, path: Path, *, sealed: bool) -> None:
        with _plain(path):
            try:
                folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                if not sealed:
                    return
                raise IntegrityFault(
                    f"the folder {path.parent} is not there, so the backup in it is not removed",
                    f"mount it; when it is gone for good: mkdir -p {path.parent}; then run this again",
                ) from None
            try:
                for name in (_partial(path.name), path.name):
                    with suppress(FileNotFoundError):
                        os.unlink(name, dir_fd=folder)
                os.fsync(folder)
            finally:
                os.close(folder)


def _put(base: Path, backup: Backup, picture: Png, to: list[Recipient]) -> None:
    sealed = pyrage.encrypt(picture.reveal(), [each.key for each in to])
    with _plain(backup.path), _folder(base, part(backup.account), part(backup.user)) as folder:
        _write(folder, backup.path.name, sealed)


def changed(file: Path, before: Secret[str], after: Secret[str]) -> None:
    """Seal a passphrase's identity by another passphrase, in its place. Raise UsageFault, IntegrityFault."""
    with _plain(file), _existing(file.parent) as folder:
        _hold(folder, file.parent)  # two that write beside it at once would take each other's for their own
        whole = _octets(os.open(file.name, READING, dir_fd=folder))
        try:
            text = Secret(pyrage.passphrase.decrypt(whole, before.reveal()))
        except pyrage.DecryptError:
            raise UsageFault(f"this passphrase does not open {file}", "try again") from None
        sealed = pyrage.passphrase.encrypt(text.reveal(), after.reveal())
        with _beside(folder, file.name, sealed) as partial:
            written = _octets(os.open(partial, READING, dir_fd=folder))
            if Secret(pyrage.passphrase.decrypt(written, after.reveal())) != text:
                raise IntegrityFault(f"{file} does not read back as it was written", "check the disk")
            os.rename(partial, file.name, src_dir_fd=folder, dst_dir_fd=folder)
        os.fsync(folder)


def _opens(path: Path, sealed: bytes, keys: Secret[list[Identity]], picture: Png) -> bool:
    """Whether one of these identities opens what was sealed for others; what it opens is the same picture."""
    try:
        found = _opened(path, sealed, keys)
    except OthersSeal:
        return False
    if found != picture:
        raise IntegrityFault(f"{path} does not read back as it was written", "check the disk")
    return True


def _users(path: Path) -> Path:
    """Return where a user's own copy of a backup is; the path itself where that is it."""
    base = path.parents[2]
    return path if base.name == OWN else base.joinpath(OWN, *path.parts[-3:])


def _caption(backup: Backup) -> str:
    return (
        f"AWS account {backup.account}\n"
        f"user {backup.user}\n"
        f"MFA device {backup.device}\n"
        f"made {backup.run[:4]}-{backup.run[4:6]}-{backup.run[6:8]}\n"
        "\n"
        "Scan this with an authenticator app, and keep it sealed."
    )


def _partial(name: str) -> str:
    """Name a file while it is written: short enough for any file system, and told from the run alone."""
    return f".{name[-60:]}.partial"


@contextmanager
def _plain(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise IntegrityFault(f"{path} exists already", "choose another name, for nothing is written over") from None
    except OSError as error:
        hint = "check the folder's rights and the free space, or give another folder"
        raise IntegrityFault(f"{path} cannot be written: {_reason(error)}", hint) from None


@contextmanager
def _folder(base: Path, *below: str) -> Iterator[int]:
    """Open a folder, making what is missing of it, 0700 and durable, without following a symlink at or below base."""
    for missing in reversed([each for each in base.parents if not each.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)
        _sync(missing.parent)
    above = os.open(base.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in filter(None, (base.name, *below)):  # the root of a file system has no name
            with suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=above)
                os.fsync(above)
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            above, done = os.open(name, flags, dir_fd=above), above
            os.close(done)
        yield above
    finally:
        os.close(above)


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def _existing(base: Path, *below: str) -> Iterator[int]:
    """Open a folder that is there, without following a symlink at or below base."""
    if not base.joinpath(*below).is_dir():
        raise FileNotFoundError(errno.ENOENT, "its folder is not there")
    with _folder(base, *below) as folder:
        yield folder


@contextmanager
def held(folder: Path, *, waiting: Callable[[], None]) -> Iterator[None]:
    """Hold a folder, which is made where it is missing; say so and wait while another does. Raise IntegrityFault."""
    with ExitStack() as stack:
        with _plain(folder):
            opened = stack.enter_context(_folder(folder))
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _hold(folder: int, path: Path) -> None:
    """Hold an open folder until it is closed, to change files in it. Raise IntegrityFault while another does."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise IntegrityFault(f"another mfa-kit is at work on {path}", "wait for its end, and run this again") from None


def _write(folder: int, name: str, data: bytes | Secret[bytes]) -> None:
    """Write beside the target, and link: link(2) never replaces a file that is there."""
    with _beside(folder, name, data) as partial:
        os.link(partial, name, src_dir_fd=folder, dst_dir_fd=folder)
        try:
            os.fsync(folder)
        except BaseException:  # it is ours, and might be gone after a power cut
            os.unlink(name, dir_fd=folder)
            raise


@contextmanager
def _beside(folder: int, name: str, data: bytes | Secret[bytes]) -> Iterator[str]:
    """Write a file beside its place, and sync it; what is left under that name at the end is removed."""
    partial = _partial(name)
    with suppress(FileNotFoundError):  # of an earlier try of this very run
        os.unlink(partial, dir_fd=folder)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(partial, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(data.reveal() if isinstance(data, Secret) else data)
            file.flush()
            os.fsync(file.fileno())
        yield partial
    finally:
        with suppress(FileNotFoundError):
            os.unlink(partial, dir_fd=folder)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.errno == errno.ELOOP:
        return "it is a symlink, which is not followed"
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__

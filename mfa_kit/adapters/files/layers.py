"""Encrypts a break-glass identity in layers, one for each custodian of a set, and removes the layers.

Each layer is an age file (age-encryption.org/v1), so `age -d -i FIRST FILE | age -d -i SECOND` decrypts two layers. The
identity's folder has a file for each set of custodians, and manifest.json.
"""

import hmac
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import pyrage
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mfa_kit.adapters.files.identities import parse_recipients
from mfa_kit.adapters.files.plugins import (
    NO_PLUGINS,
    Identity,
    Plugins,
    PublicKey,
    contain_panics,
    decrypt_file,
    encrypt,
    without_armor,
)
from mfa_kit.break_glass.custodians import FILE, Custodian, CustodianSet, Manifest, RecoveryKey, parse_manifest
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.models import RUN, run_id, run_time
from mfa_kit.core.otp import Secret
from mfa_kit.disk import files
from mfa_kit.disk.files import LARGEST, MAGIC, create_whole_folder, faults_of, hold, is_partial, open_folder


def read_file(path: Path) -> bytes:
    """Return the content of a file, at most LARGEST + 1 octets. Raise IntegrityFault if it cannot be read."""
    with faults_of(path, "read"):
        return files.read_all(os.open(path, files.READING), LARGEST + 1)


class RecoveryKeyFolders:
    """The folders with the files of recovery keys. By default, new folders are in `base`."""

    def __init__(self, base: Path) -> None:
        self._base = base

    def newest(self, parent: Path | None = None) -> Path | None:
        """Return the newest folder in `parent` or the base whose name is a run ID, or None if there is none."""
        folders: list[Path] = []
        with suppress(FileNotFoundError, NotADirectoryError):
            folders = sorted(folder for folder in (parent or self._base).iterdir() if RUN.fullmatch(folder.name))
        return folders[-1] if folders else None

    def is_there(self, folder: Path) -> bool:
        """Return whether a folder exists."""
        return folder.is_dir()

    def read(self, folder: Path) -> RecoveryKey:
        """Return a folder and its manifest. Raise IntegrityFault if the manifest cannot be read or is not valid."""
        file = folder / FILE
        return RecoveryKey(folder.absolute(), parse_manifest(read_file(file), where=str(file)))

    def beside(self, folder: Path) -> list[RecoveryKey]:
        """Return this folder and its sibling folders, the newest last.

        Folders without a valid manifest are left out. Folders that were not written completely are left out too,
        because mfa-kit will remove them.
        """
        recovery_keys: list[RecoveryKey] = []
        for sibling in folder.parent.iterdir():
            if not is_partial(sibling):
                with suppress(IntegrityFault):
                    recovery_keys.append(self.read(sibling))
        return sorted(recovery_keys, key=lambda sibling: (sibling.manifest.made, sibling.folder.name))

    def new(self, parent: Path | None = None, *, now: float) -> Path:
        """Return the path for a new folder in `parent` or the base. Its name is a run ID, later than the others."""
        newest = self.newest(parent)
        run = run_id(max(now, run_time(newest.name) + 1 if newest else 0), os.urandom(4))
        return (parent or self._base) / run

    def write(self, folder: Path, files: Mapping[str, bytes]) -> None:
        """Write a folder completely or not at all. Raise IntegrityFault if it exists or cannot be written."""
        with faults_of(folder):
            create_whole_folder(folder, files)

    @contextmanager
    def exclusively(self, folder: Path) -> Iterator[None]:
        """Lock a folder during the `with` block. Raise IntegrityFault if another process holds the lock."""
        with faults_of(folder), open_folder(folder) as opened:
            hold(opened, folder)
            yield


# The message that `owner_test` encrypts to each custodian.
TEST = b"a message to a custodian"
# The info of HKDF (RFC 5869), which separates this use of an identity from all others.
ROTATION = b"mfa-kit/break-glass/rotation/1"


class RecoveryIdentity:
    """A break-glass identity (X25519). Unencrypted, it exists only in memory. Files contain it in encrypted layers."""

    def __init__(self, identity: Secret[pyrage.x25519.Identity]) -> None:
        self._identity = identity
        self.recipient = str(identity.reveal().to_public())

    @classmethod
    def new(cls) -> "RecoveryIdentity":
        """Return a new identity."""
        return cls(Secret(pyrage.x25519.Identity.generate()))

    @property
    def keys(self) -> Secret[list[Identity]]:
        """The identity as a list of private keys, for the functions that decrypt backups."""
        return Secret([self._identity.reveal()])

    def sealed(self, to: Sequence[str], plugins: Plugins = NO_PLUGINS) -> bytes:
        """Return the identity, in the format of age-keygen, encrypted with one layer for each public key in `to`.

        The layer of the first key is the outermost one. `plugins` are the age plugins that may encrypt to the keys.
        Raise UsageFault if a public key cannot be used.
        """
        text = Secret(f"# public key: {self.recipient}\n{self._identity.reveal()}\n".encode())
        *others, last = [_public(key, plugins) for key in to]
        layers = encrypt(text, [last])
        for public_key in reversed(others):
            layers = encrypt(Secret(layers), [public_key])
        return layers

    def hmac_of(self, manifest: Manifest) -> str:
        """Return the HMAC-SHA-256 with which this identity confirms the manifest of the identity that replaces it.

        The result is in hex. The key is HKDF-SHA-256 of the text `AGE-SECRET-KEY-1...` of this identity, without salt.
        """
        # A single expression, because a traceback could show a key that is in a local variable.
        return hmac.digest(
            HKDF(SHA256(), length=32, salt=None, info=ROTATION).derive(str(self._identity.reveal()).encode()),
            manifest.canonical(),
            "sha256",
        ).hex()

    def keys_with(self, other: "RecoveryIdentity") -> Secret[list[Identity]]:
        """Return this and another identity as a list of private keys."""
        return Secret([*self.keys.reveal(), *other.keys.reveal()])

    def files(self, manifest: Manifest, plugins: Plugins = NO_PLUGINS) -> Mapping[str, bytes]:
        """Return the content of each file of a break-glass folder, by file name. `manifest` describes the folder.

        `plugins` are the age plugins that may encrypt to the custodians' public keys. Raise UsageFault if a public key
        cannot be used.
        """
        group = manifest.group
        sets = {
            custodian_set.file: self.sealed([group.key_of(name) for name in custodian_set.names], plugins)
            for custodian_set in group.sets()
        }
        return {**sets, FILE: manifest.text().encode()}


def _public(key: str, plugins: Plugins) -> PublicKey:
    return parse_recipients([key], plugins=plugins)[0].key


def remove_layer(sealed: Secret[bytes], keys: Secret[list[Identity]], *, where: str) -> Secret[bytes]:
    """Decrypt an age file and return its content, which may be another age file.

    Raise WrongIdentityError if no private key in `keys` decrypts the file, and IntegrityFault if the file is damaged.
    `where` names the file in errors.
    """
    layer = without_armor(sealed)
    if len(layer.reveal()) > LARGEST or not layer.reveal().startswith(MAGIC):
        raise IntegrityFault(f"{where} is damaged and cannot be decrypted", "use another copy")
    hint = "check that this is the right file, and that the custodians before you have removed their layers"
    return decrypt_file(layer, keys, where=where, hint=hint)


def remove_outer_layer(sealed: bytes, keys: Secret[list[Identity]], *, where: str) -> bytes:
    """Decrypt an age file that contains another age file, and return the inner one.

    Raise the errors of `remove_layer`. Raise IntegrityFault also if the content is not an age file, because it may then
    be the unencrypted identity, which must not be returned.
    """
    inner_file = remove_layer(Secret(sealed), keys, where=where)
    if not inner_file.reveal().startswith(MAGIC):
        raise IntegrityFault(f"{where} has fewer layers than its set has custodians", "use another copy of the folder")
    return inner_file.reveal()


def open_layers(
    sealed: bytes, keys: Iterable[Secret[list[Identity]]], *, recipient: str, where: str
) -> RecoveryIdentity:
    """Return the identity in an encrypted file. `keys` has the private keys for each layer, the outermost layer first.

    Raise WrongIdentityError if the private keys do not decrypt a layer, and IntegrityFault if the file is damaged, or
    its identity does not belong to `recipient`.
    """
    text = Secret(sealed)
    for layer_keys in keys:
        text = remove_layer(text, layer_keys, where=where)
    other = IntegrityFault(f"{where} does not contain the identity of {recipient}", "use another copy of the folder")
    try:
        with contain_panics(other):
            identity = RecoveryIdentity(Secret(pyrage.x25519.Identity.from_str(text.reveal().split()[-1].decode())))
    except (pyrage.IdentityError, UnicodeDecodeError, IndexError):
        raise other from None
    if identity.recipient != recipient:
        raise other
    return identity


def open_set(
    file: Path, chosen: CustodianSet, keys: Mapping[str, Secret[list[Identity]]], *, recipient: str
) -> RecoveryIdentity:
    """Return the identity in the file of a set. `keys` has the private keys of the set's custodians by name.

    Raise IntegrityFault if these keys cannot decrypt the file, or its identity does not belong to `recipient`.
    """
    return open_layers(read_file(file), [keys[name] for name in chosen.names], recipient=recipient, where=str(file))


def owner_test(
    custodians: Iterable[Custodian], plugins: Plugins = NO_PLUGINS
) -> Callable[[Secret[list[Identity]]], list[Custodian]]:
    """Return a function that takes private keys and returns the custodians to whom they belong.

    The function tries to decrypt a test message to each custodian, because pyrage does not return the public key of an
    SSH private key.
    """
    messages = [
        (custodian, Secret(encrypt(Secret(TEST), [_public(custodian.key, plugins)]))) for custodian in custodians
    ]

    def owners(keys: Secret[list[Identity]]) -> list[Custodian]:
        return [custodian for custodian, message in messages if _opens(message, keys)]

    return owners


def _opens(message: Secret[bytes], keys: Secret[list[Identity]]) -> bool:
    try:
        return remove_layer(message, keys, where="") == Secret(TEST)
    except IntegrityFault:
        return False

"""The ports that the use cases of recovery keys need: folders, records, encryption and letters."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from mfa_kit.break_glass.custodians import Custodian, CustodianSet, Manifest, RecoveryKey
from mfa_kit.break_glass.uses import Record
from mfa_kit.core.interaction import Interaction, Progress
from mfa_kit.core.otp import Secret
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from mfa_kit.letters.sheet import Sheet


class SharedIdentity(Protocol):
    """An age identity that only several custodians can open together. Unencrypted, it exists only in memory.

    `recipient` is its public key.
    """

    recipient: str

    def hmac_of(self, manifest: Manifest) -> str:
        """Return the HMAC with which this identity confirms the manifest of the identity that replaces it, in hex."""
        ...


# The type of the private keys that a custodian presents.
K = TypeVar("K")
# The type of the identity.
V = TypeVar("V", bound=SharedIdentity)


class KeyFolders(Protocol):
    """The folders with the files of recovery keys. They raise IntegrityFault if a file cannot be read or written."""

    def newest(self) -> Path | None:
        """Return the newest of the folders that mfa-kit made in its own folder, or None."""
        ...

    def is_there(self, folder: Path) -> bool:
        """Return whether a folder exists."""
        ...

    def read(self, folder: Path) -> RecoveryKey:
        """Return a folder, with its manifest. Raise IntegrityFault if the manifest is not valid."""
        ...

    def beside(self, folder: Path) -> list[RecoveryKey]:
        """Return this folder and its sibling folders that have a valid manifest, the newest last."""
        ...

    def new(self, parent: Path | None = None, *, now: float) -> Path:
        """Return the path for a new folder in `parent`, or in mfa-kit's own folder."""
        ...

    def write(self, folder: Path, files: Mapping[str, bytes]) -> None:
        """Write a new folder completely or not at all."""
        ...

    def exclusively(self, folder: Path) -> AbstractContextManager[None]:
        """Lock a folder during the `with` block. Raise IntegrityFault if another process holds the lock."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakGlassPorts(Generic[K, V]):
    """The ports of all use cases.

    `records` returns the ledger's records of the uses of recovery keys, oldest first. `new_identity` makes an identity,
    and `files_of` returns the files of its folder by name, or raises UsageFault for a public key that cannot be used.
    `read_keys` returns the private keys in a custodian's file, or raises UsageFault or DeviceFault. `owner_test`
    returns a function that says to which custodians private keys belong. `open_set` opens the file of a set with the
    private keys of its custodians, by name; the last argument is the expected recipient. `remove_layer` returns the
    content of the outermost layer of a file, which is another age file. Both raise IntegrityFault if the keys cannot
    decrypt the file. `check_new_file` raises UsageFault or IntegrityFault if no new file can be written at a path.
    `now` returns the Unix time.
    """

    folders: KeyFolders
    records: Callable[[], list[Record]]
    add_record: Callable[[Record], None]
    new_identity: Callable[[], V]
    files_of: Callable[[V, Manifest], Mapping[str, bytes]]
    read_keys: Callable[[Path], K]
    owner_test: Callable[[Sequence[Custodian]], Callable[[K], Sequence[Custodian]]]
    open_set: Callable[[Path, CustodianSet, Mapping[str, K], str], V]
    remove_layer: Callable[[Path, K], bytes]
    check_new_file: Callable[[Path], None]
    write_new_file: Callable[[Path, bytes], None]
    person: Interaction
    progress: Progress
    now: Callable[[], float]
    dry_run: bool

    def record(
        self,
        manifest: Manifest,
        action: RecoveryKeyAction,
        names: Sequence[str],
        *,
        backups: int = 0,
        replaces: str | None = None,
    ) -> None:
        """Record in the ledger what these custodians did with an identity, and which recipient it replaces, if any.

        `replaces` never comes from a manifest that someone else may have written, because the ledger then retires it.
        """
        group = manifest.group
        self.add_record(
            Record(
                at=self.now(),
                recipient=manifest.recipient,
                action=action,
                custodians={name: group.key_of(name) for name in names},
                threshold=group.threshold if action is RecoveryKeyAction.SEALED else 0,
                backups=backups,
                replaces=replaces,
            )
        )


class NewLetter(Protocol):
    """The new PDF file for a letter."""

    @property
    def path(self) -> Path:
        """The path of the file."""
        ...

    def check(self) -> None:
        """Raise UsageFault or IntegrityFault if the letter cannot be drawn or written."""
        ...

    def draw(self, sheet: Sheet) -> Secret[bytes]:
        """Return the PDF of a letter."""
        ...

    def store(self, pdf: Secret[bytes]) -> None:
        """Write the file. Raise UsageFault or IntegrityFault if that fails."""
        ...

    def remove(self, pdf: Secret[bytes]) -> None:
        """Remove the file if its content is `pdf`."""
        ...

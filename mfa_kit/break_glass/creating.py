"""Makes a recovery key for a group of custodians, and gives it to another group.

A custodian who has no key gets a new one. mfa-kit writes such a key to a letter, and nowhere else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from mfa_kit.break_glass.custodians import Custodian, CustodianSet, Group, Manifest, RecoveryKey
from mfa_kit.break_glass.ports import BreakGlassPorts, K, NewLetter, V
from mfa_kit.break_glass.uses import is_unfinished
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.letter import fill_template
from mfa_kit.core.message import suggest
from mfa_kit.core.otp import Secret
from mfa_kit.core.recovery_keys import RecoveryKeyAction
from mfa_kit.core.text import count_of, day_of, is_private_key
from mfa_kit.letters.sheet import LINE, PrintedSecret, Sheet, confirm_secret

MEMORY = "/dev/shm"  # noqa: S108 - the letter says that it is in memory
# A function that takes the manifest and the folder of a new identity, and returns a context. At its start, the context
# writes the letters to the custodians. In the context, the caller writes the folder. If the context ends with an error
# and the folder does not exist, the context removes the letters.
WriteLetters = Callable[[Manifest, Path], AbstractContextManager[None]]
NO_LETTERS: WriteLetters = lambda _manifest, _folder: nullcontext()  # noqa: E731 - all custodians have keys


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCustodian:
    """A custodian whose new key is printed in a letter. `identity` is the private key, and `key` the public key."""

    name: str
    key: str
    identity: Secret[str]


def custodian_letter(custodian: NewCustodian, manifest: Manifest, *, text: str, date: str) -> Sheet:
    """Return the letter with the identity of a new custodian. `date` is the date on which it was made."""
    group = manifest.group
    others = [name for name in group.names if name != custodian.name][: group.threshold - 1]
    order = [name for name in group.names if name in {custodian.name, *others}]
    set_file = quote(f"set-NN-{'-'.join(order)}.age")
    first, *later_commands = [f"age -d -i {quote(f'{MEMORY}/{name}.txt')}" for name in order]
    values = {
        "custodian": custodian.name,
        "key": custodian.key,
        "recipient": manifest.recipient,
        "needed": group.needed,
        "date": date,
        "alone": "" if group.threshold > 1 else "yes",
        "meeting": count_of(group.threshold, "custodian"),
        "file": quote(f"{MEMORY}/{custodian.name}.txt"),
        "width": str(LINE),
        "pipe": " | ".join([f"{first} {set_file}", *later_commands]),
    }
    secret = PrintedSecret(label="Private key (age identity)", text=custodian.identity, scanned=True)
    return Sheet(letter=fill_template(text, values), secret=secret)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGroup:
    """The group of custodians that a command line describes. `new` has the custodians whose new keys go on letters."""

    group: Group
    new: tuple[NewCustodian, ...]

    def confirm_letters(
        self, ports: BreakGlassPorts[K, V], file_of: Callable[[str], NewLetter], *, text: str
    ) -> WriteLetters:
        """Ask for a confirmation if letters will be written. Return the function that writes the letters.

        `file_of` returns the file for the letter to a custodian, and `text` is the text of all letters.

        Raise UsageFault or IntegrityFault if the letters cannot be written. Raise Declined if there is no terminal, or
        if the user does not confirm.
        """
        if not self.new:
            return NO_LETTERS
        files = [file_of(custodian.name) for custodian in self.new]
        for file in files:
            file.check()
        names = ", ".join(str(file.path) for file in files)
        confirm_secret(f"each letter ({names}) will contain a private key", ports.person)

        @contextmanager
        def write(manifest: Manifest, folder: Path) -> Iterator[None]:
            written: list[tuple[NewLetter, Secret[bytes]]] = []
            date = day_of(ports.now())
            try:
                for custodian, file in zip(self.new, files, strict=True):
                    pdf = file.draw(custodian_letter(custodian, manifest, text=text, date=date))
                    written.append((file, pdf))
                    file.store(pdf)
                yield
            except BaseException:
                # If the folder was written, keep the letters: they have the keys that open the identity in it.
                if not ports.folders.is_there(folder):
                    for file, pdf in written:
                        file.remove(pdf)
                raise

        return write


def group_of(
    threshold: int,
    custodians: Sequence[str],
    *,
    letters: bool,
    parse_key: Callable[[str, str], str],
    new_key: Callable[[str], NewCustodian],
) -> NewGroup:
    """Return the group of custodians that a command line describes.

    Each text in `custodians` is `NAME=PUBLIC KEY` or, with `letters`, `NAME` alone. `parse_key` takes a public key and
    says in errors whose it is. `new_key` makes a key for a custodian.

    Raise UsageFault if a custodian has no key and there are no letters, if a key is invalid or private, if there are
    letters but all custodians have keys, or if the group is invalid.
    """
    new: list[NewCustodian] = []
    members: list[Custodian] = []
    for text in custodians:
        name, sign, key = text.partition("=")
        if is_private_key(name):  # the message does not quote the key
            raise UsageFault(
                "--custodian contains a private key, which may now be in the history of your shell",
                "make another key, and give the name and the public key: --custodian NAME=age1…",
            )
        if not key and letters and not sign:
            new.append(new_key(name))
            key = new[-1].key
        if not key:
            raise UsageFault(
                f"the custodian {name} has no public key",
                f"give one: --custodian {name or 'NAME'}=age1…, or let mfa-kit print a new key: --letters DIR",
            )
        members.append(Custodian(name, parse_key(key, f"for the custodian {name},")))
    if letters and not new:
        raise UsageFault(
            "every custodian has a public key, so there is no letter to write",
            "omit --letters, or give a custodian without a key: --custodian NAME",
        )
    return NewGroup(group=Group(threshold, tuple(members)), new=tuple(new))


def plan(group: Group, ports: BreakGlassPorts[K, V]) -> Mapping[CustodianSet, int]:
    """Return the sets of a group, each with the size of its file in octets. Nothing is written.

    The sizes are those of the files of a new identity, which is then discarded. age adds some random octets, so the
    final files may have slightly other sizes.
    """
    identity = ports.new_identity()
    files = ports.files_of(identity, Manifest(recipient=identity.recipient, made=ports.now(), group=group))
    return {custodian_set: len(files[custodian_set.file]) for custodian_set in group.sets()}


def create(
    group: Group, folder: Path | None, ports: BreakGlassPorts[K, V], *, letters: WriteLetters = NO_LETTERS
) -> RecoveryKey:
    """Make a recovery key for a group, and return it. `folder` is the path of the new folder, or None.

    Raise UsageFault for a public key that cannot be used, and IntegrityFault if the folder exists or cannot be written.
    """
    return write(
        folder or ports.folders.new(now=ports.now()), group, ports.new_identity(), ports=ports, letters=letters
    )


def write(
    folder: Path,
    group: Group,
    identity: V,
    *,
    ports: BreakGlassPorts[K, V],
    former: Sequence[Custodian] = (),
    replaced: V | None = None,
    letters: WriteLetters = NO_LETTERS,
) -> RecoveryKey:
    """Record the custodians of an identity in the ledger, then write their letters, and then the identity's folder.

    `former` is as in Manifest, and `replaced` is the identity before the rotation. Raise the errors of `create`.
    """
    manifest = Manifest(recipient=identity.recipient, made=int(ports.now()), group=group, former=tuple(former))
    if replaced:
        manifest = replace(manifest, replaces=replaced.recipient)
        manifest = replace(manifest, hmac=replaced.hmac_of(manifest))
    files, path = ports.files_of(identity, manifest), folder.absolute()
    ports.record(manifest, RecoveryKeyAction.SEALED, group.names, replaces=manifest.replaces)
    with letters(manifest, path):
        ports.folders.write(path, files)
    return RecoveryKey(path, manifest)


def reseal(
    recovery_key: RecoveryKey,
    identity: V,
    group: Group,
    *,
    ports: BreakGlassPorts[K, V],
    letters: WriteLetters = NO_LETTERS,
) -> RecoveryKey:
    """Encrypt an open identity to another group of custodians. Return the new folder, which is beside the old one.

    Raise UsageFault if a rotation of this identity is not finished, because the new group could not finish it.
    """
    manifest = recovery_key.manifest
    if is_unfinished(manifest, ports.records()):
        raise UsageFault(
            "a rotation of this identity is not finished", suggest("finish it first", "break-glass rotate")
        )
    everyone = dict.fromkeys((*manifest.former, *manifest.group.custodians))
    former = [custodian for custodian in everyone if custodian not in group.custodians]
    new = ports.folders.new(recovery_key.folder.parent, now=ports.now())
    return write(new, group, identity, ports=ports, former=former, letters=letters)

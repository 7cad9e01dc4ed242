"""Makes private keys for custodians who have no key. mfa-kit writes such a key to a letter, and nowhere else."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mfa_kit.adapters.files.identities import NewIdentity
from mfa_kit.break_glass.custodians import Custodian, Group, Manifest
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import is_private_key
from mfa_kit.core.timestamps import iso_time
from mfa_kit.letters.letter_texts import GlassFacts, NewCustodian, custodian_letter
from mfa_kit.letters.sheet import Paper
from mfa_kit.wiring.backup_recipients import read_recipients
from mfa_kit.wiring.files import packaged_text
from mfa_kit.wiring.letters import NO_LETTERS, LetterFile, WriteLetters, confirm_secret, need_letters
from mfa_kit.wiring.settings import Settings, harden


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterOptions:
    """The folder for the letters of new custodians, which must exist, and the size of the letters' paper."""

    folder: Path
    paper: Paper

    def file(self, name: str) -> LetterFile:
        """Return the file for the letter of a custodian."""
        return LetterFile(path=self.folder / f"break-glass-{name}.pdf", paper=self.paper)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewGroup:
    """The group of custodians that a command line describes. `new` has the custodians whose new keys go on letters."""

    group: Group
    new: tuple[NewCustodian, ...]
    letters: LetterOptions | None

    def check(self, settings: Settings) -> WriteLetters:
        """Ask for a confirmation if letters will be written. Return the function that writes the letters.

        Raise UsageFault or IntegrityFault if the letters cannot be written. Raise Declined if there is no terminal, or
        if the user does not confirm.
        """
        if self.letters is None:
            return NO_LETTERS
        options, files = self.letters, [self.letters.file(custodian.name) for custodian in self.new]
        need_letters()
        for file in files:
            file.check()
        names = ", ".join(str(file.path) for file in files)
        text = packaged_text("letters/custodian.md")
        confirm_secret(f"each letter ({names}) will contain a private key", settings.interaction)

        @contextmanager
        def write(manifest: Manifest, folder: Path) -> Iterator[None]:
            written: list[tuple[LetterFile, Secret[bytes]]] = []
            try:
                for custodian in self.new:
                    file = options.file(custodian.name)
                    date = iso_time(time.time())[:10]
                    pdf = file.draw(custodian_letter(custodian, facts_of(manifest), text=text, date=date))
                    written.append((file, pdf))
                    file.store(pdf)
                yield
            except BaseException:
                # If the folder was written, keep the letters: they have the keys that open the identity in it.
                if not folder.exists():
                    for file, pdf in written:
                        file.remove(pdf)
                raise

        return write


def facts_of(manifest: Manifest) -> GlassFacts:
    """Return the facts about an identity that letters state."""
    group = manifest.group
    return GlassFacts(recipient=manifest.recipient, threshold=group.threshold, custodians=group.names)


def group_of(threshold: int, custodians: Sequence[str], letters: LetterOptions | None = None) -> NewGroup:
    """Return the group of custodians that a command line describes.

    Each text in `custodians` is `NAME=PUBLIC KEY` or, if `letters` is given, `NAME` alone.

    Raise UsageFault if a custodian has no key and `letters` is None, if a key is invalid or private, if `letters` is
    given but all custodians have keys, or if the group is invalid.
    """
    new: list[NewCustodian] = []
    members: list[Custodian] = []
    for text in custodians:
        name, sign, key = text.partition("=")
        _refuse_private_key(name)
        if not key and letters is not None and not sign:
            new.append(_new_custodian(name))
            key = new[-1].key
        members.append(_custodian(name, key))
    if letters is not None and not new:
        raise UsageFault(
            "every custodian has a public key, so there is no letter to write",
            "omit --letters, or give a custodian without a key: --custodian NAME",
        )
    return NewGroup(group=Group(threshold, tuple(members)), new=tuple(new), letters=letters)


def _refuse_private_key(name: str) -> None:
    """Raise UsageFault if `name` is a private key. The message does not quote the key."""
    if is_private_key(name):
        raise UsageFault(
            "--custodian contains a private key, which may now be in the history of your shell",
            "make another key, and give the name and the public key: --custodian NAME=age1…",
        )


def _new_custodian(name: str) -> NewCustodian:
    harden()
    identity = NewIdentity()
    return NewCustodian(name=name, key=identity.recipient, identity=identity.text)


def _custodian(name: str, key: str) -> Custodian:
    if not key:
        raise UsageFault(
            f"the custodian {name} has no public key",
            f"give one: --custodian {name or 'NAME'}=age1…, or let mfa-kit print a new key: --letters DIR",
        )
    return Custodian(name, read_recipients([key], source=f"for the custodian {name},")[0].text)

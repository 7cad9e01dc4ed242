"""Writes letters as PDF files. The extra `letters` installs the libraries that draw them."""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mfa_kit.adapters.files.identities import NewIdentity
from mfa_kit.break_glass.custodians import Custodian, Group, Manifest
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.letter import Letter
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import is_private_key
from mfa_kit.core.timestamps import iso_time
from mfa_kit.letters.letter_texts import NewCustodian, RecoveryKeyFacts, custodian_letter
from mfa_kit.letters.sheet import Paper, Sheet
from mfa_kit.wiring.age_keys import read_recipients
from mfa_kit.wiring.files import check_new, packaged_text, write_new_file
from mfa_kit.wiring.settings import Settings, command_for_extra, harden

# A function that takes the manifest and the folder of a new break-glass identity, and returns a context. At its start,
# the context writes the letters to the custodians. In the context, the caller writes the folder. If the context ends
# with an error and the folder does not exist, the context removes the letters.
WriteLetters = Callable[[Manifest, Path], AbstractContextManager[None]]
NO_LETTERS: WriteLetters = lambda _manifest, _folder: nullcontext()  # noqa: E731 - all custodians have keys


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFile:
    """The path of a new PDF file for a letter, and the size of its paper."""

    path: Path
    paper: Paper

    def check(self) -> None:
        """Raise UsageFault if letters cannot be drawn on this computer, and the errors of `check_new` for the path.

        Call this before long work.
        """
        need_letters()
        check_new(self.path)

    def write(self, sheet: Sheet) -> None:
        """Draw a letter, and write the file with mode 0600. Never overwrite a file. Raise the errors of `check`."""
        self.store(self.draw(sheet))

    def draw(self, sheet: Sheet) -> Secret[bytes]:
        """Return the PDF of a letter. Raise UsageFault if letters cannot be drawn on this computer."""
        return _open_printing().sheet(sheet, self.paper)

    def store(self, pdf: Secret[bytes]) -> None:
        """Write the file with mode 0600. Never overwrite a file. Raise UsageFault or IntegrityFault if that fails."""
        write_new_file(self.path, pdf)

    def remove(self, pdf: Secret[bytes]) -> None:
        """Remove the file if its content is `pdf`. Otherwise another process wrote it, and it is kept."""
        if self.path.is_file() and Secret(self.path.read_bytes()) == pdf:
            self.path.unlink()


def letter_printer(paper: Paper) -> Callable[[Letter], bytes]:
    """Return a function that draws a letter without a secret as a PDF. Raise the errors of `need_letters`."""
    printing = _open_printing()
    return lambda letter: printing.letter(letter, paper)


def need_letters() -> None:
    """Raise UsageFault if the extra `letters` or its fonts are not installed."""
    _open_printing()


class _Printing(NamedTuple):
    """The functions that draw a sheet and a letter without a secret, each as a PDF."""

    sheet: Callable[[Sheet, Paper], Secret[bytes]]
    letter: Callable[[Letter, Paper], bytes]


def _open_printing() -> _Printing:
    try:
        from mfa_kit.adapters.printing.pdf import draw_letter, draw_pdf, load_fonts
    except ImportError:
        raise UsageFault(
            "letters need the 'letters' extra, which is not installed", command_for_extra("letters")
        ) from None
    load_fonts()
    return _Printing(draw_pdf, draw_letter)


def confirm_secret(statement: str, person: Interaction) -> None:
    """Ask the user to confirm that a letter will contain a secret. The question is asked even with --yes.

    `statement` says which file will contain what. Raise Declined if the user does not type yes, or if there is no
    terminal.
    """
    person.confirm(f"{statement} unencrypted; print it, and delete the file", typed="yes", instead="a terminal")


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


def facts_of(manifest: Manifest) -> RecoveryKeyFacts:
    """Return the facts about an identity that letters state."""
    group = manifest.group
    return RecoveryKeyFacts(recipient=manifest.recipient, threshold=group.threshold, custodians=group.names)


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

"""Writes letters as PDF files. The extra `letters` installs the libraries that draw them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mfa_kit.adapters.files.identities import NewIdentity
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.letter import Letter
from mfa_kit.core.otp import Secret
from mfa_kit.letters.sheet import NewCustodian, Paper, Sheet
from mfa_kit.wiring.files import check_new, write_new_file
from mfa_kit.wiring.settings import command_for_extra, harden


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


def new_custodian(name: str) -> NewCustodian:
    """Make a private key for a custodian."""
    harden()
    identity = NewIdentity()
    return NewCustodian(name=name, key=identity.recipient, identity=identity.text)

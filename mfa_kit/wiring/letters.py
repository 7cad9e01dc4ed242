"""Writes letters as PDF files. The extra `letters` installs the libraries that draw them."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from mfa_kit.break_glass.custodians import Manifest
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.letter import Letter
from mfa_kit.core.otp import Secret
from mfa_kit.letters.sheet import Paper, Sheet
from mfa_kit.wiring.files import check_new, write_new_file
from mfa_kit.wiring.settings import command_for_extra

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

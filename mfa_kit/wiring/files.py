"""Files named on a command line: inputs with a secret, new files, letters as PDF. QR codes, and the package's texts."""

import os
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mfa_kit.core.advisory_file import FORM, parse_advisories
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.firmware import Advisory
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import clauses
from mfa_kit.core.otp import KeyUri, Png, Secret, Seed, Symbol
from mfa_kit.disk.files import fault_of_output, write_new
from mfa_kit.posix.processes import file_system
from mfa_kit.wiring.settings import command_for_extra

if TYPE_CHECKING:
    from mfa_kit.core.letter import Letter
    from mfa_kit.letters.sheet import Paper, Sheet


def check_output_folder(folder: Path, progress: Progress) -> None:
    """Raise UsageFault if other users could read or exchange letters with secrets in a folder.

    On a network file system, where the owners may be those of another computer, print this instead.
    """
    from mfa_kit.adapters.files.session_folder import NETWORK

    if fault := fault_of_output(folder):
        if file_system(folder) not in NETWORK:
            raise UsageFault(*fault)
        progress.alert(clauses([f"{fault[0]}, on a network file system", fault[1]]))


# The maximum length of a line with a secret, in octets. The rest of a longer line is not read.
LONGEST_SECRET = 4096


def packaged_text(name: str) -> str:
    """Return the text of a file of the package, such as `letters/pin.md`."""
    from importlib import resources

    return resources.files("mfa_kit").joinpath(name).read_text("utf-8")


# Pages for people who change mfa-kit, or read about it on the web. `mfa-kit help` does not show them.
NOT_SHOWN = {"README", "development"}
# Pages that `mfa-kit help` shows by their names only: a search would find almost any words in them.
BY_NAME = {"changelog", "commands"}


def manual_pages(*, by_name: bool = False) -> dict[str, str]:
    """Return the pages of the documentation in Markdown, by name: from the wheel, or from docs/ of a checkout.

    Their order is that of the index. With `by_name`, those in BY_NAME are included.
    """
    from importlib import resources

    packaged = Path(str(resources.files("mfa_kit").joinpath("pages")))
    folder = packaged if packaged.is_dir() else packaged.parents[1] / "docs"
    texts = {file.stem: file.read_text("utf-8") for file in folder.glob("*.md")}
    return {
        name: texts[name]
        for name in sorted(texts, key=lambda name: texts["README"].find(f"({name}.md)"))
        if name not in NOT_SHOWN and (by_name or name not in BY_NAME)
    }


# The maximum size of a file of advisories, in octets. mfa-kit's own has about a hundredth of this size.
LARGEST_ADVISORIES = 1 << 20


def read_advisories(file: Path | None = None) -> list[Advisory]:
    """Return the advisories in a file, or those in the package. Raise UsageFault if the file has a fault."""
    if file is None:
        return parse_advisories(packaged_text("core/advisories.toml").encode(), "mfa-kit's own file")
    try:
        with file.open("rb") as opened:
            octets = opened.read(LARGEST_ADVISORIES + 1)
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", FORM) from None
    if len(octets) > LARGEST_ADVISORIES:
        raise UsageFault(f"{file} is too large for a file of advisories", FORM)
    return parse_advisories(octets, str(file))


def html_page(template: str, **values: object) -> str:
    """Return the page of a template in cli/html, such as `audit.html`. Raise InternalError if a name is not defined."""
    return _renderers()[0](template, **values)


def html_blocks(template: str, names: Iterable[str], **values: object) -> dict[str, str]:
    """Return blocks of a template in cli/html as HTML, by their names. Raise the error of `html_page`."""
    return _renderers()[1](template, names, **values)


def _renderers() -> tuple[Callable[..., str], Callable[..., dict[str, str]]]:
    """Import the functions that render a page and blocks of a page."""
    from mfa_kit.adapters import templates

    return templates.render, templates.render_blocks


def read_secret(descriptor: int) -> Secret[str]:
    """Return the first line of an open file descriptor, decoded from UTF-8. Raise UsageFault if that fails."""
    try:
        with open(descriptor, "rb", closefd=False) as file:
            line = Secret(file.readline(LONGEST_SECRET))
        return Secret(line.reveal().decode().rstrip("\r\n"))
    except (OSError, OverflowError, TypeError, ValueError):  # `open` raises TypeError for a huge number
        raise UsageFault(
            f"no secret can be read from file descriptor {descriptor}", f"redirect a file to it: {descriptor}<FILE"
        ) from None


def read_secret_line() -> Secret[str]:
    """Return the next line of stdin, decoded from UTF-8. Raise UsageFault, without quoting the line, if that fails."""
    line = Secret(sys.stdin.buffer.readline(LONGEST_SECRET))
    with suppress(UnicodeDecodeError):
        return Secret(line.reveal().decode().rstrip("\r\n"))
    raise UsageFault("the line on stdin is not UTF-8, so it was not used", "encode it in UTF-8")


def write_new_file(path: Path, data: bytes | Secret[bytes]) -> None:
    """Write a new file, mode 0600, in an existing folder. Never overwrite a file.

    Raise the errors of `check_new`, and IntegrityFault if the file cannot be written.
    """
    check_new(path)
    write_new(path.absolute().parent.resolve() / path.name, data)


def check_new(path: Path) -> None:
    """Raise UsageFault or IntegrityFault if no new file can be written at this path. Call this before long work."""
    folder = path.absolute().parent
    if not folder.is_dir():
        raise UsageFault(f"there is no folder {folder}", "create it, or name a file in another folder")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageFault(f"{folder} is not a folder that you can write to", "name a file in another folder")
    if os.path.lexists(path):
        raise IntegrityFault(f"{path} already exists", "choose another name, because files are never overwritten")


def write_pages(folder: Path, pages: Mapping[str, str]) -> None:
    """Write manual pages to a folder, replacing older pages. `pages` maps file names to texts.

    Raise UsageFault on failure.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, page in pages.items():
            (folder / name).write_text(page, "utf-8")
    except OSError as error:
        raise UsageFault(f"{folder} cannot be written to: {error.strerror}", "name another folder: --dir DIR") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterFile:
    """The path of a new PDF file for a letter, and the size of its paper."""

    path: Path
    paper: "Paper"

    def check(self) -> None:
        """Raise UsageFault if letters cannot be drawn on this computer, and the errors of `check_new` for the path.

        Call this before long work.
        """
        need_letters()
        check_new(self.path)

    def write(self, sheet: "Sheet") -> None:
        """Draw a letter, and write the file with mode 0600. Never overwrite a file. Raise the errors of `check`."""
        self.store(self.draw(sheet))

    def draw(self, sheet: "Sheet") -> Secret[bytes]:
        """Return the PDF of a letter. Raise UsageFault if letters cannot be drawn on this computer."""
        draw_pdf, _ = _printing()
        return draw_pdf(sheet, self.paper)

    def store(self, pdf: Secret[bytes]) -> None:
        """Write the file with mode 0600. Never overwrite a file. Raise UsageFault or IntegrityFault if that fails."""
        write_new_file(self.path, pdf)

    def remove(self, pdf: Secret[bytes]) -> None:
        """Remove the file if its content is `pdf`. Otherwise another process wrote it, and it is kept."""
        if self.path.is_file() and Secret(self.path.read_bytes()) == pdf:
            self.path.unlink()


def letter_printer(paper: "Paper") -> "Callable[[Letter], bytes]":
    """Return a function that draws a letter without a secret as a PDF. Raise the errors of `need_letters`."""
    _, draw_letter = _printing()
    return lambda letter: draw_letter(letter, paper)


def need_letters() -> None:
    """Raise UsageFault if the extra `letters` or its fonts are not installed."""
    _printing()


def _printing() -> "tuple[Callable[[Sheet, Paper], Secret[bytes]], Callable[[Letter, Paper], bytes]]":
    """Return the functions that draw a letter with secrets and one without. Raise the errors of `need_letters`."""
    try:
        from mfa_kit.adapters.printing import pdf
    except ImportError:
        raise UsageFault(
            "letters need the 'letters' extra, which is not installed", command_for_extra("letters")
        ) from None
    pdf.load_fonts()
    return pdf.draw_pdf, pdf.draw_letter


def draw(seed: Seed, device: str, account: str) -> Symbol:
    """Return the QR code of a device's secret as text for a terminal, drawn in half-block characters."""
    from mfa_kit.qr_codes.symbol import device_symbol

    return device_symbol(seed, device, account)


def draw_picture(uri: KeyUri) -> Png:
    """Return the QR code of a key URI as a PNG."""
    from mfa_kit.qr_codes import symbol

    return symbol.png(uri)

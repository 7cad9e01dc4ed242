"""Reads the users' own encrypted files and the template of letters, and writes the folder of a hand-over."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from mfa_kit.adapters.files.local_store import read_backup
from mfa_kit.adapters.files.private_files import MAGIC
from mfa_kit.backups.opening import ReadAhead
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.letter import LetterTemplate, parse_template
from mfa_kit.core.models import BackupLocation
from mfa_kit.disk.files import create_whole_tree
from mfa_kit.rollout.handover_letter import NAMES
from mfa_kit.wiring.files import packaged_text
from mfa_kit.wiring.settings import Settings
from mfa_kit.wiring.stores import AllStores

# The built-in template.
TEMPLATE = "rollout/handover_letter.md"
# The maximum number of octets of a template.
LARGEST = 1 << 20


def read_template(settings: Settings, named: Path | None) -> LetterTemplate:
    """Return the template in the file `named`, else in the configured file, else the built-in template.

    Raise UsageFault if the file cannot be read, is too large or has errors. The error has a note for each wrong line.
    """
    configured = settings.config.letter_template
    file = named or (Path(configured).expanduser() if configured else None)
    if file is None:
        return parse_template(packaged_text(TEMPLATE), names=NAMES, source="of mfa-kit")
    hint = "name a text file in UTF-8: --template FILE"
    try:
        with file.open("rb") as opened:
            content = opened.read(LARGEST + 1)
        text = content.decode("utf-8-sig") if len(content) <= LARGEST else None
    except OSError as error:
        raise UsageFault(f"the template {file} cannot be read: {error.strerror}", hint) from None
    except UnicodeDecodeError:
        raise UsageFault(f"the template {file} is not UTF-8", hint) from None
    if text is None:
        raise UsageFault(f"the template {file} is larger than {LARGEST >> 20} MiB", hint)
    return parse_template(text, names=NAMES, source=str(file))


def sealed_files(settings: Settings) -> ReadAhead:
    """Return an object that reads encrypted files, from a folder or a bucket."""
    return ReadAhead(_checked(AllStores(settings.profile)))


def _checked(stores: AllStores) -> Callable[[BackupLocation], bytes]:
    """Return a function that reads an encrypted file.

    The function raises IntegrityFault if the file is not an age file, so that nothing unencrypted is handed over.
    """

    def read(place: BackupLocation) -> bytes:
        sealed = read_backup(place, stores)
        if not sealed.startswith(MAGIC):
            raise IntegrityFault(f"{place} is not an age file", "see: mfa-kit backup verify")
        return sealed

    return read


def check_handover(folder: Path) -> None:
    """Raise UsageFault if something exists at the path of the folder."""
    if folder.exists() or folder.is_symlink():
        raise UsageFault(f"{folder} already exists", "name a new folder: -o DIR")


def write_handover(folder: Path, folders: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
    """Write the folder of a hand-over, complete or not at all, as `create_whole_tree` does.

    Raise UsageFault if something exists at its path, and IntegrityFault if it cannot be written.
    """
    try:
        create_whole_tree(folder.absolute(), folders)
    except FileExistsError:
        check_handover(folder)
        raise
    except OSError as error:
        raise IntegrityFault(
            f"{folder} cannot be written: {error.strerror}", "check the permissions and the free space"
        ) from None

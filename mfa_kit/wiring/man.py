"""Write manual pages to files."""

from collections.abc import Mapping
from pathlib import Path

from mfa_kit.core.errors import UsageFault


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

"""The options of commands that can ask their questions on a page in a browser."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from mfa_kit.cli.output import call_place

# The function that opens the page, as `module:function`. Its module is imported only if --page is given.
OPEN = "mfa_kit.cli.browser.page:open_page"

if TYPE_CHECKING:
    from mfa_kit.cli.browser.page import OpenPage, open_page
    from mfa_kit.wiring.settings import Settings
else:
    open_page = partial(call_place, OPEN)

PAGE = click.option("--page", is_flag=True, help="Ask on a page in a browser on this computer, not in the terminal.")
NO_BROWSER = click.option("--no-browser", is_flag=True, help="Only print the address of the page; open no browser.")


def page_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options `--page` and `--no-browser`."""
    return PAGE(NO_BROWSER(function))


@dataclass(frozen=True, slots=True)
class AtTerminal:
    """Has the methods of OpenPage for a command without `--page`, which asks its questions at the terminal."""

    settings: Settings

    def name(self, user: str, *, account: str) -> None:
        """Do nothing, because the terminal shows no name."""

    def finish(self, *, admin: str, colleague: str) -> None:
        """Do nothing, because the command prints its result."""


@contextmanager
def asked_at(
    settings: Settings, *, page: bool, browser: bool, user: str = "", calls: str = ""
) -> Iterator[OpenPage | AtTerminal]:
    """Yield an OpenPage if `page` is true, else an AtTerminal. The command must use the `settings` of this object.

    The other arguments are those of `open_page`. The page is closed when the context ends.
    """
    if not page:
        yield AtTerminal(settings)
        return
    with open_page(settings, user=user, calls=calls, browser=browser) as opened:
        yield opened

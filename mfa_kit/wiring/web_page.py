"""Serves the page of a command with `--page`, prints its address, and opens it in a browser."""

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

from mfa_kit.adapters.files.redirect_page import write_page
from mfa_kit.core.errors import UsageFault
from mfa_kit.core.interaction import Progress
from mfa_kit.core.otp import Secret
from mfa_kit.wiring.settings import command_for_extra, home

if TYPE_CHECKING:
    from mfa_kit.adapters.web.app import Views
    from mfa_kit.adapters.web.server import PageServer


def serve(views: "Views") -> "PageServer":
    """Start a server for these views. Raise UsageFault if the extra `page` is not installed."""
    try:
        from mfa_kit.adapters.web.server import PageServer
    except ImportError:
        raise UsageFault("the page needs the 'page' extra, which is not installed", command_for_extra("page")) from None
    return PageServer(views)


def print_address(server: "PageServer", role: str, *, progress: Progress) -> None:
    """Print a new one-time address of the view for `role`."""
    _print(server.new_address(role), progress)


def _print(address: Secret[str], progress: Progress) -> None:
    progress.alert("open this address in a browser on this computer; it works once:")
    progress.alert(address.reveal())


@contextmanager
def announced(server: "PageServer", role: str, *, progress: Progress, browser: bool) -> Iterator[None]:
    """Print a new one-time address of the view for `role`. With `browser` and on a desktop, also open it.

    The browser opens a local file that redirects to the address, because other users of this computer can read the
    arguments of a browser. The file is removed when the context ends.
    """
    import webbrowser

    address = server.new_address(role)
    _print(address, progress)
    with ExitStack() as stack:
        if browser and _has_desktop():
            file = stack.enter_context(write_page(home(), address, destination="the page of mfa-kit"))
            webbrowser.open(file.as_uri())
        yield


def _has_desktop() -> bool:
    """Return whether a browser can have a window. If not, `webbrowser` would start a browser in the terminal."""
    return sys.platform == "darwin" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER")
    )

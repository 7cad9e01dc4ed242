"""Opens pages in a browser: the console page on which a user registers a key, and the page of mfa-kit (`--page`)."""

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, Protocol, runtime_checkable
from urllib.parse import quote

from mfa_kit.adapters.files.redirect_page import write_page
from mfa_kit.core.errors import MfaKitError, UsageFault
from mfa_kit.core.interaction import Progress
from mfa_kit.core.message import clauses
from mfa_kit.core.models import Caller, DeviceSpec, Skipped
from mfa_kit.core.otp import Secret
from mfa_kit.enrollment import fido_console
from mfa_kit.enrollment.fido_console import ConsoleWatch, Hosts, RootEnrolled
from mfa_kit.enrollment.ports import EnrollmentPorts, IamReader
from mfa_kit.wiring.settings import command_for_extra, home


@contextmanager
def open_console_page(
    spec: DeviceSpec, *, iam_reader: IamReader, progress: Progress, signed_in: bool, role: str | None
) -> Iterator[None]:
    """Print how to register a key in the console. With `signed_in`, also open the console page in a browser, signed in.

    If the page cannot be opened, print the reason. The local file that redirects the browser is removed when the
    context ends. `role` is the ARN of the role to assume for the console session. If `role` is None, the session
    is created with the caller's access keys.
    """
    hosts = fido_console.hosts_of(spec.partition, endpoint=_console(iam_reader).endpoint_url)
    address = hosts and f"{hosts.console}/iam/home#/users/details/{quote(spec.user)}?section=security_credentials"
    for line in fido_console.click_instructions(spec, address=address):
        progress.alert(line)
    with ExitStack() as stack:
        if signed_in:
            try:
                stack.enter_context(_open_signed_in(spec, iam_reader, role=role, hosts=hosts, destination=address))
            except MfaKitError as error:
                progress.alert(clauses([f"the page is not opened: {error}", error.hint]))
        yield


def watch_console(
    iam_reader: IamReader,
    progress: Progress,
    *,
    lacking: Callable[[Mapping[str, str]], tuple[str, ...]],
    seconds: float,
    signed_in: bool,
    role: str | None,
) -> ConsoleWatch:
    """Return a ConsoleWatch, which waits up to `seconds` seconds until a person registers a key in the console.

    `lacking` takes the key's certifications and returns a sentence for each requirement that they do not meet.
    `signed_in` and `role` are passed to `open_console_page`.
    """
    page = partial(open_console_page, iam_reader=iam_reader, progress=progress, signed_in=signed_in, role=role)
    return ConsoleWatch(page=page, lacking=lacking, seconds=seconds, clock=time.monotonic)


@runtime_checkable
class ConsoleSource(Protocol):
    """An IamReader that also has IAM's URL and creates console sessions.

    The inventory of every EnrollmentPorts has this type.
    """

    endpoint_url: str

    def console_session(self, *, user: str, policy: Mapping[str, object], role: str | None) -> Secret[str]:
        """Return credentials of a console session, as JSON for AWS's federation endpoint.

        `policy` limits what the session can do. `role` is the ARN of the role to assume for it. If `role` is
        None, the session is created with the caller's access keys. Raise UsageFault if `role` is None and the caller
        has no access keys of a user, and AwsFault if AWS refuses the request.
        """
        ...


def _console(iam_reader: IamReader) -> ConsoleSource:
    assert isinstance(iam_reader, ConsoleSource)  # noqa: S101 - wiring makes the inventory of every desk
    return iam_reader


@contextmanager
def _open_signed_in(
    spec: DeviceSpec, iam_reader: IamReader, *, role: str | None, hosts: Hosts | None, destination: str | None
) -> Iterator[None]:
    """Open the page in a console session that can only view one user and assign MFA devices to this user.

    The credentials of the session are valid for 15 minutes, or for an hour if a caller with session credentials assumes
    `role`. The browser opens a local file that redirects to the page. The file is removed when the context ends. Raise
    UsageFault if the address is not known or no browser opens, and the errors of `console_session`.
    """
    import webbrowser

    from mfa_kit.adapters.aws import signin

    if hosts is None or destination is None:
        raise UsageFault(
            f"the sign-in address of partition {spec.partition} is not known", "sign in to the console yourself"
        )
    policy = fido_console.session_policy(account=spec.account, partition=spec.partition, user=spec.user)
    session = _console(iam_reader).console_session(user=spec.user, policy=policy, role=role)
    address = signin.console_address(hosts.signin, session, destination=destination)
    with write_page(home(), address, page=_redirect_page("the AWS console")) as file:
        if not webbrowser.open(file.as_uri()):
            raise UsageFault("no browser could be opened", "sign in to the console yourself, or set BROWSER")
        yield


def _redirect_page(destination: str) -> Callable[[str], str]:
    """Return a function that makes the HTML of a page that redirects to an address, and says where it leads."""
    from mfa_kit.adapters.templates import render

    return lambda address: render("redirect.html", address=address, destination=destination)


def enroll_root(
    name: str, *, add: bool, seconds: float, caller: Caller, ports: EnrollmentPorts
) -> RootEnrolled | Skipped:
    """Print how root registers a key with this name in the console, and wait up to `seconds` seconds for the key.

    Return Skipped if root already has MFA, unless the caller is root and `add` is set. Raise UsageFault if the
    partition has no root users, and AwsFault if root has no new key after `seconds`.
    """
    hosts = fido_console.hosts_of(caller.partition, endpoint=_console(ports.iam_reader).endpoint_url)
    return fido_console.enroll_root(
        name,
        address=hosts and f"{hosts.console}/iam/home#/security_credentials",
        add=add,
        seconds=seconds,
        clock=time.monotonic,
        caller=caller,
        ports=ports,
    )


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
            file = stack.enter_context(write_page(home(), address, page=_redirect_page("the page of mfa-kit")))
            webbrowser.open(file.as_uri())
        yield


def _has_desktop() -> bool:
    """Return whether a browser can have a window. If not, `webbrowser` would start a browser in the terminal."""
    return sys.platform == "darwin" or bool(
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER")
    )

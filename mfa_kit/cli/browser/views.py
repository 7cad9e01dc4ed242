"""The HTML of the two views that `--page` opens in a browser: their documents, and the parts that change.

The admin's view has all questions and messages, and the queue. The colleague's view has only what the current user
needs. Only the colleague's view shows the QR code.
"""

from collections.abc import Mapping

from mfa_kit import wiring
from mfa_kit.cli.browser.page_state import SHOWN, PageState, Role
from mfa_kit.core.message import UserAction, action_of
from mfa_kit.core.otp import Secret
from mfa_kit.core.text import one_line

# The characters that draw a QR code. Each draws two modules, one above the other. True means that a module is dark.
MODULES = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}
# The parts of each view, without the QR code: the blocks of view_parts.html.
PARTS = {
    Role.ADMIN: ("title", "said", "form", "controls", "stopping", "keys", "windows", "queue", "log", "end"),
    Role.COLLEAGUE: ("title", "calls", "said", "form", "end"),
}


def document(role: Role, *, nonce: str) -> str:
    """Return the document of a view. Its parts are empty; the script fills them."""
    return wiring.files.html_page("view.html", role=role, nonce=nonce)


def entrance(role: Role, *, nonce: str, key: Secret[str], proof: Secret[str]) -> Secret[str]:
    """Return the page at a one-time address, which gives its window the key and the proof of a session."""
    return Secret(wiring.files.html_page("enter.html", role=role, nonce=nonce, key=key.reveal(), proof=proof.reveal()))


def view_parts(state: PageState, role: Role) -> Mapping[str, Secret[str]]:
    """Return the parts of a view as HTML, by ID. The part `qr` contains the secret of a device."""
    with state.changed:
        action = action_of(state.question.text) if state.question else None
        parts = wiring.files.html_blocks(
            "view_parts.html",
            PARTS[role],
            state=state,
            role=role,
            sentence=lambda text: sentence(role.words(text)),
            pair=action in {UserAction.FIRST_CODE, UserAction.SECOND_CODE},
        )
        shown = {"qr": _qr(state)} if role is Role.COLLEAGUE else {}
        return {name: Secret(part) for name, part in parts.items()} | shown


def sentence(text: str) -> str:
    """Return a message with a capital letter and a final period.

    A message that ends with a question mark, exclamation mark or colon keeps it.
    """
    plain = one_line(text).strip()
    message = plain[:1].upper() + plain[1:]
    return message if not message or message.endswith((".", "?", "!", ":")) else f"{message}."


def _qr(state: PageState) -> Secret[str]:
    """Return the QR code, with its quiet zone, and the secrets as text."""
    lines = Secret(state.symbol.reveal().splitlines() if state.symbol else [])
    return Secret(
        wiring.files.html_page(
            "qr.html",
            expired=state.expired,
            seconds=int(SHOWN),
            rows=[row for line in lines.reveal() for row in zip(*map(MODULES.__getitem__, line), strict=True)],
            texts=[text.reveal() for text in state.texts],
        ).strip()
    )

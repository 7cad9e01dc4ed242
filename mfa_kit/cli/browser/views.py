"""The HTML of the two views that `--page` opens in a browser: their documents, and the parts that change.

The admin's view has all questions and messages, and the queue. The colleague's view has only what the current user
needs. Only the colleague's view shows the QR code.
"""

from collections.abc import Callable, Mapping
from html import escape

from mfa_kit.cli.browser.look import SCRIPT, STYLE
from mfa_kit.cli.browser.page_state import SHOWN, Asks, PageState, Question, Role
from mfa_kit.cli.html.shell import html_page, html_table, html_text, html_words
from mfa_kit.core.message import UserAction, action_of
from mfa_kit.core.otp import Secret, Symbol
from mfa_kit.core.text import one_line

# The characters that draw a QR code. Each draws two modules, one above the other. True means that a module is dark.
MODULES = {" ": (False, False), "▀": (True, False), "▄": (False, True), "█": (True, True)}
TITLES = {Role.ADMIN: "MFA enrollment: admin", Role.COLLEAGUE: "MFA enrollment"}
TOUCH = "Touch it now."
EXPIRED = (
    "The QR code was removed after 10 minutes. If you have scanned it, type the codes. "
    "Otherwise ask the admin to press Stop and to start again."
)
ON_INPUT = "Each code is sent when you have typed its sixth digit."
CODE_LABELS = ("First code", "Second code")


def document(role: Role, *, nonce: str) -> str:
    """Return the document of a view. Its parts are empty; the script fills them."""
    parts = (
        '<main><p id="connection" class="big" role="alert" hidden></p><header><h1 id="title"></h1></header>'
        '<div id="calls" role="status"></div><div id="end" role="status"></div>'
        '<p id="said" class="said" role="alert"></p><div id="qr"></div><div id="form"></div>'
    )
    if role is Role.ADMIN:
        parts += (
            '<div class="buttons" role="group" aria-label="Session"><span id="controls"></span>'
            '<span id="stopping"></span></div>'
            '<div id="keys" role="status"></div><div id="windows" role="status"></div>'
            '<section aria-labelledby="q"><h2 id="q">Queue</h2>'
            '<div id="queue"></div></section><section aria-labelledby="m"><h2 id="m">Messages</h2>'
            '<div id="log" role="log" tabindex="0" aria-labelledby="m"></div></section>'
        )
    page = html_page(TITLES[role], [f"{parts}</main>"], style=STYLE, script=SCRIPT, nonce=nonce)
    return page.replace("<body>", f'<body data-role="{role}">', 1)


def view_parts(state: PageState, role: Role) -> Mapping[str, Secret[str]]:
    """Return the parts of a view as HTML, by ID. The part `qr` contains the secret of a device."""
    with state.changed:
        makers = ADMIN_PARTS if role is Role.ADMIN else COLLEAGUE_PARTS
        return {name: make(state) for name, make in makers.items()}


def qr_picture(symbol: Symbol) -> Secret[str]:
    """Return a QR code as an SVG image, with its quiet zone. Each dark module is a square in one path."""
    rows = Secret([row for line in symbol.reveal().splitlines() for row in zip(*map(MODULES.get, line), strict=True)])
    drawn = Secret(
        "".join(
            f"M{across} {down}h1v1h-1z"
            for down, row in enumerate(rows.reveal())
            for across, dark in enumerate(row)
            if dark
        )
    )
    size = f"0 0 {len(rows.reveal()[0])} {len(rows.reveal())}"
    return Secret(
        f'<svg viewBox="{size}" role="img" aria-label="QR code for your authenticator app" '
        f'shape-rendering="crispEdges"><rect width="100%" height="100%" fill="#fff"/>'
        f'<path d="{drawn.reveal()}" fill="#000"/></svg>'
    )


def sentence(text: str) -> str:
    """Return a message with a capital letter and a final period.

    A message that ends with a question mark, exclamation mark or colon keeps it.
    """
    plain = one_line(text).strip()
    message = plain[:1].upper() + plain[1:]
    return message if not message or message.endswith((".", "?", "!", ":")) else f"{message}."


def _qr(state: PageState) -> Secret[str]:
    if state.expired:
        return Secret(f"<p>{EXPIRED}</p>")
    if not state.symbol and not state.texts:
        return Secret("")
    drawn = Secret(qr_picture(state.symbol).reveal() if state.symbol else "")
    texts = Secret("".join(f'<p class="secret">{escape(text.reveal())}</p>' for text in state.texts))
    return Secret(f'<div class="qr" data-gone="{SHOWN:.0f}">{drawn.reveal()}</div>{texts.reveal()}')


def _code_form(state: PageState, question: Question) -> str:
    """Return a form with one field for a code, or with two fields of which only the current one can be edited."""
    count = (
        f'<p class="left">Next code in <span data-next="{question.next_code:.3f}" role="timer"></span></p>'
        if question.next_code
        else ""
    )
    pair = action_of(question.text) in {UserAction.FIRST_CODE, UserAction.SECOND_CODE}
    labels = CODE_LABELS if pair else (sentence(question.text).rstrip("."),)
    fields = "".join(
        _code_field(state, label, index, active=index == question.second) for index, label in enumerate(labels)
    )
    return (
        f'<form data-number="{state.number}" autocomplete="off" novalidate>{fields}'
        f'<button class="first">Send</button></form>{count}<p class="soft" id="hint">{ON_INPUT}</p>'
    )


def _code_field(state: PageState, label: str, index: int, *, active: bool) -> str:
    done = state.question is not None and state.question.second and not index
    how = (
        'data-code data-focus inputmode="numeric" autocomplete="off" maxlength="64" aria-describedby="said hint"'
        if active
        else "readonly tabindex=-1"
    )
    value = ' value="accepted"' if done else ""
    return (
        f'<div class="field"><label for="code{index}">{html_words(label)}</label>'
        f'<input id="code{index}" {how}{value}></div>'
    )


def _text_form(state: PageState, question: Question) -> str:
    kind = "password" if question.asks is Asks.SECRET else "text"
    return (
        f'<form data-number="{state.number}" autocomplete="off" novalidate><div class="field">'
        f'<label for="text">{html_words(sentence(question.text))}</label>'
        f'<input id="text" type="{kind}" data-focus autocomplete="off"></div><button class="first">Send</button></form>'
    )


def _buttons(state: PageState, question: Question) -> str:
    drawn = "".join(
        f'<button id="b{index}" data-do="answer" data-number="{state.number}" data-text="{escape(answer)}"'
        f"{' class=first data-focus' if not index else ''}>{html_text(label)}</button>"
        for index, (label, answer) in enumerate(question.buttons)
    )
    return (
        f'<p class="big">{html_words(sentence(Role.ADMIN.words(question.text)))}</p><div class="buttons">{drawn}</div>'
    )


def _form(state: PageState) -> Secret[str]:
    question = state.question
    match question:
        case None:
            return Secret("")
        case Question(asks=Asks.CODE):
            return Secret(_code_form(state, question))
        case Question(asks=Asks.BUTTONS):
            return Secret(_buttons(state, question))
        case _:
            return Secret(_text_form(state, question))


def _colleague_form(state: PageState) -> Secret[str]:
    return _form(state) if state.question and state.question.is_for_user else Secret("")


def _sentences(state: PageState, role: Role) -> Secret[str]:
    """Return the messages about the last answer as HTML, or nothing after the session has ended."""
    said = () if state.ending else state.said
    return Secret(html_words(" ".join(sentence(role.words(text)) for text in said)))


def _calls(state: PageState) -> Secret[str]:
    """Return a sentence with what the user has to do: scan the QR code, insert or touch a key, or wait.

    If the previous user was just enrolled, a sentence that thanks them comes first.
    """
    if state.ending:
        return Secret("")
    thanks = f"<p>{html_words(state.thanked)}</p>" if state.thanked else ""
    words = _what_to_do(state)
    return Secret(thanks + (f'<p class="big">{html_words(words)}</p>' if words else ""))


def _what_to_do(state: PageState) -> str:
    if state.touch:
        return TOUCH
    if state.symbol:
        return sentence(Role.COLLEAGUE.words(state.scan))
    if state.expired:
        return ""
    return state.calls if state.question else state.busy


def _end(state: PageState, text: Callable[[PageState], str]) -> Secret[str]:
    return Secret(f'<p class="big">{html_words(text(state))}</p>' if state.ending else "")


def _title(state: PageState) -> Secret[str]:
    return Secret(html_words(state.user) or "MFA enrollment")


def _windows(state: PageState) -> Secret[str]:
    if state.ending or state.windows.get(Role.COLLEAGUE):
        return Secret("")
    waits = " Open it to show the QR code." if state.symbol else ""
    return Secret(f"<p>The colleague's view is not open.{waits}</p>")


def _controls(state: PageState) -> Secret[str]:
    if state.ending:
        return Secret("")
    return Secret('<button id="open" data-do="open">Open the colleague\'s view</button>')


def _stop(state: PageState) -> Secret[str]:
    """Return the Stop button.

    The button is a separate part of the page, so it is not redrawn when other parts change. If the button were redrawn
    during a click, the click would be lost.
    """
    disabled = "" if state.can_stop else " disabled"
    return Secret("" if state.ending else f'<button id="stop" data-do="stop"{disabled}>Stop</button>')


def _queue(state: PageState) -> Secret[str]:
    if not state.queue:
        return Secret(f"<p>{html_words(state.user)}</p>")
    table = html_table(("User", "State"), [(html_words(row.user), html_words(row.state)) for row in state.queue])
    position = next((number for number, row in enumerate(state.queue) if row.current), None)
    if position is None:
        return Secret(table)
    head, *rows = table.split("<tr><td")
    rows[position] = f' aria-current="true"><td{rows[position]}'
    return Secret(head + "".join(f"<tr{row}" if row.startswith(" aria") else f"<tr><td{row}" for row in rows))


def _keys(state: PageState) -> Secret[str]:
    return Secret("".join(f"<p>{html_words(key)} is inserted.</p>" for key in state.keys))


def _log(state: PageState) -> Secret[str]:
    lines = "".join(
        f"<li{' class=wrong' if message.wrong else ''}>{html_words(Role.ADMIN.words(message.text))}</li>"
        for message in state.log
    )
    return Secret(f'<ul class="log">{lines}</ul>' if lines else "<p>No messages yet.</p>")


Maker = Callable[[PageState], Secret[str]]
COLLEAGUE_PARTS: Mapping[str, Maker] = {
    "title": _title,
    "calls": _calls,
    "said": lambda state: _sentences(state, Role.COLLEAGUE),
    "qr": _qr,
    "form": _colleague_form,
    "end": lambda state: _end(state, lambda it: it.ending.colleague if it.ending else ""),
}
ADMIN_PARTS: Mapping[str, Maker] = {
    "title": _title,
    "said": lambda state: _sentences(state, Role.ADMIN),
    "form": _form,
    "controls": _controls,
    "stopping": _stop,
    "keys": _keys,
    "windows": _windows,
    "queue": _queue,
    "log": _log,
    "end": lambda state: _end(state, lambda it: it.ending.admin if it.ending else ""),
}

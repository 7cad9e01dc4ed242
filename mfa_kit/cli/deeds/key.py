"""What `mfa-kit key` does. Each kind of key is a source: a name, and a function that gives its rows."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mfa_kit.cli import keys, messages, options
from mfa_kit.cli import output as report
from mfa_kit.core.errors import MfaKitError, NoApplet
from mfa_kit.oath_keys.credential import OathKey
from mfa_kit.wiring import oath_password, pin, security_keys
from mfa_kit.wiring.oath_keys import OathKeys

Row = Mapping[str, Any]
# Seconds between two looks.
WATCH = 0.3


@dataclass(frozen=True, slots=True)
class Source:
    """One kind. `rows` gives its keys and what is wrong with others; `state` changes when one comes or goes.

    A row has the fields of COMMON, and its own beside them, each beginning with the source's name. `info` tells more of
    one key, which a serial or a place names, and raises where this source has none such.
    """

    name: str
    rows: Callable[[], tuple[Sequence[Row], Sequence[MfaKitError]]]
    state: Callable[[], object]
    info: Callable[[str | None], Row]


def _oath_keys() -> OathKeys:
    return OathKeys(options.common(), password_stdin=bool(keys.given("password_stdin")))


def _oath_rows() -> tuple[list[dict[str, Any]], Sequence[MfaKitError]]:
    found, wrong = _oath_keys().look()
    return [_oath_row(key) for key in found], wrong


def _oath_state() -> object:
    return _oath_keys().state()


def _oath_info(wanted: str | None) -> dict[str, Any]:
    """Return what one key says of itself, and the names that it holds."""
    within = _oath_keys()
    key = within.choose(wanted)
    with within.open(key) as applet:
        names = sorted(name.decode(errors="replace") for name in applet.names())
    return _oath_row(key) | {"oath_used": len(names), "oath_identity": key.identity, "credentials": names}


def _oath_row(key: OathKey) -> dict[str, Any]:
    return {
        "key": key.what,
        "serial": key.serial,
        "firmware": key.firmware,
        "transports": (key.transport,),
        "where": (key.where,),
        "oath_used": key.used,
        "oath_free": key.free,
        "oath_password": key.password,
    }


SOURCES: tuple[Source, ...] = (
    Source("fido", security_keys.rows, security_keys.state, security_keys.described),
    Source("oath", _oath_rows, _oath_state, _oath_info),
)
COMMON = ("key", "serial", "firmware", "transports", "where")


def _found() -> tuple[list[dict[str, Any]], list[MfaKitError]]:
    """Ask each source; the same serial seen by two sources is one key, by one source it is two keys.

    That a card is no key of one kind is told only where it is none of any.
    """
    found: list[dict[str, Any]] = []
    wrong: list[MfaKitError] = []
    for source in SOURCES:
        try:
            rows, faults = source.rows()
        except MfaKitError as fault:
            rows, faults = (), (fault,)
        wrong += faults
        before = {row["serial"]: row for row in found if row["serial"]}
        for row in rows:
            if (same := before.get(row["serial"])) is None:
                found.append(dict(row))
            else:
                joined = {name: tuple(dict.fromkeys([*same[name], *row[name]])) for name in ("transports", "where")}
                same.update({name: value for name, value in row.items() if same.get(name) is None} | joined)
    fields = dict.fromkeys([*COMMON, *(name for row in found for name in row)])
    told = [fault for fault in wrong if not (found and isinstance(fault, NoApplet))]
    return [{name: row.get(name) for name in fields} for row in found], told


def _told(row: Row) -> Row:
    return {**row, "serial": row["serial"] or "no serial"}


def list_(*, watch: bool) -> None:
    """Print the keys that are plugged in, and with `watch` each that comes or goes."""
    output = options.form()
    state = _state() if watch else []  # before the look: what comes during it is seen as a change
    rows, wrong = _found()
    shown = [_told(row) for row in rows] if output == "table" else rows
    if not watch:
        _complain(wrong if rows else wrong[1:])
        report.many("key-list", shown, output=output, empty="no keys")
        if wrong and not rows:
            raise wrong[0]
        return
    _complain(wrong)
    for row in rows:
        report.one("key-watch", {"event": "there", **row}, output="jsonl" if output == "json" else output)
    _watch(rows, state, output=output)


def _state() -> list[object]:
    return [source.state() for source in SOURCES]


def _watch(rows: list[dict[str, Any]], state: list[object], *, output: str) -> None:
    while True:
        time.sleep(WATCH)
        if (now := _state()) == state:
            continue
        state, before = now, rows
        rows, wrong = _found()
        _complain(wrong)
        for event, some, others in (("removed", before, rows), ("plugged in", rows, before)):
            for row in some:
                if row not in others:
                    report.one("key-watch", {"event": event, **row}, output="jsonl" if output == "json" else output)
        sys.stdout.flush()


def _complain(wrong: Sequence[MfaKitError]) -> None:
    for fault in wrong:
        messages.Talk().note(f"{fault}; {fault.hint}")


def info(wanted: str | None) -> None:
    """Print what every source tells of one key."""
    row: dict[str, Any] = {}
    wrong: list[tuple[Source, MfaKitError]] = []
    for source in SOURCES:
        try:
            row |= {name: value for name, value in source.info(wanted).items() if row.get(name) in (None, ())}
        except MfaKitError as fault:
            wrong.append((source, fault))
    news = [fault for source, fault in wrong if _has_any(source)]
    if not row:
        raise (news or [fault for _, fault in wrong])[0]
    _complain(news)
    report.one("key-info", row, output=options.form())


def _has_any(source: Source) -> bool:
    """Whether a key of this kind is plugged in, or may be: that there is none is no news of another kind's."""
    try:
        rows, wrong = source.rows()
    except MfaKitError:
        return True
    return bool(rows) or any(not isinstance(fault, NoApplet) for fault in wrong)


def metadata(model: str | None) -> int:
    """Print what is published of a model, or of what age it is; return 1 where nothing is."""
    source, models = security_keys.published(model)
    if model is None:
        report.one("key-metadata-source", source, output=options.form())
        return 0
    report.many("key-metadata", models, output=options.form(), empty=f"nothing is published of {model}")
    return 0 if models else 1


def password(wanted: str | None, *, had: bool) -> None:
    """Set or change a password, and print of which key."""
    _changed("changed" if had else "set", oath_password.password(_oath_keys(), wanted, had=had))


def clear(wanted: str | None) -> None:
    """Take a password away, and print of which key."""
    _changed("cleared", oath_password.clear(_oath_keys(), wanted))


def _changed(what: str, row: Row) -> None:
    report.one("key-password", {"password": what, **row}, output=options.form())


def set_pin(wanted: str | None, source: Mapping[str, Any]) -> None:
    """Set a PIN, and print of which key."""
    _pin("set", pin.set_pin(wanted, pin.Source(**source)))


def change_pin(wanted: str | None, source: Mapping[str, Any]) -> None:
    """Change a PIN, and print of which key."""
    _pin("changed", pin.change_pin(wanted, pin.Source(**source)))


def policy(wanted: str | None, *, shortest: int | None, force_change: bool) -> None:
    """Set what PINs have to be, and print what the key says of it."""
    row = pin.set_policy(wanted, shortest=shortest, force_change=force_change)
    _pin("policy set", row)
    if row["force_pin_change"]:
        messages.Talk().note("the key wants a new PIN before it does anything: mfa-kit key pin change")


def reset(wanted: str | None) -> None:
    """Erase a key, and print which."""
    _pin("reset", pin.reset(wanted))


def _pin(what: str, row: Row) -> None:
    report.one("key-pin", {"outcome": what, **row}, output=options.form())

"""Exceptions that nothing foresees, at the ports of security keys: nothing quotes them."""

import io
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from mfa_kit.adapters.fido.links import _Card
from mfa_kit.cli import terminal
from mfa_kit.cli.key import list as list_keys
from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.models import DeviceSpec
from mfa_kit.enrollment import fido_console
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.attestation_ca import AttestationCa
from mfa_kit.lab.devices.clientpin import IN_A_ROW
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.securitykey import SimulatedKey, lab_key
from mfa_kit.security_keys.pin import KeyReset
from mfa_kit.wiring import browser as console
from tests import pcsc
from tests.conftest import Result
from tests.faults.unforeseen import SECRET, Place, called_places, ending, incomplete, places_of, spread
from tests.fido import slot
from tests.fido.conftest import Bus, Desk, Published
from tests.fido.test_profile import RECIPIENT, configure
from tests.rollout.person import Act, AtStation
from tests.sizes import size

PIN = "pin-5839"
# The places at which nothing is raised, by the reason.
NOT_RAISED: dict[str, Sequence[str]] = {
    "mfa-kit writes nothing to a key for the console, so it stores, computes and removes nothing": (
        *("DeviceBackend.install of AtConsole", "DeviceBackend.codes of AtConsole"),
        *("DeviceBackend.check_reachable of AtConsole", "DeviceBackend.remove of AtConsole"),
    ),
}
Insert = Callable[["Setting", SimulatedKey], object]


@dataclass
class Setting:
    """The parts of a command line with a key."""

    bus: Bus
    desk: Desk
    lab: Lab
    users: Callable[[], str]
    folder: Path
    recipient: str
    patch: pytest.MonkeyPatch


def _on_usb(at: Setting, key: SimulatedKey) -> object:
    return at.bus.plug(key, serial="KEY-7")


def _in_reader(at: Setting, key: SimulatedKey) -> object:
    slot.seen(slot.Reader(key), at.patch)
    return None


def _watched(at: Setting, key: SimulatedKey) -> object:
    """Plug in a key. The user presses Ctrl-C as soon as mfa-kit waits for the next one."""

    def sleep(_: float) -> None:
        raise KeyboardInterrupt

    at.patch.setattr(list_keys, "sleep", sleep)
    return at.bus.plug(key)


def _blocked(at: Setting, key: SimulatedKey) -> object:
    """Plug in a key that accepts no PIN until it is unplugged."""
    key.client_pin.stays_blocked, key.client_pin.wrong_in_a_row = True, IN_A_ROW
    return at.bus.plug(key)


def _almost_locked(at: Setting, key: SimulatedKey) -> object:
    """Plug in a key with two PIN tries left."""
    key.client_pin.retries = 2
    return at.bus.plug(key)


def _to_be_erased(at: Setting, key: SimulatedKey) -> object:
    """Plug in a key. The user unplugs it and plugs it in again as soon as mfa-kit waits for that."""
    moves = iter((at.bus.unplug, lambda: at.bus.plug(key, serial="KEY-7")))
    real = KeyReset.wait_for

    def wait_for(erasure: KeyReset, look: Callable[[], object], late: str) -> object:
        next(moves)()
        return real(erasure, look, late)

    at.patch.setattr(KeyReset, "wait_for", wait_for)
    return at.bus.plug(key, serial="KEY-7")


def _registering(at: Setting, key: SimulatedKey) -> object:
    """Plug in a key that the user registers as soon as the console page is open."""
    real = console.open_console_page

    def page(spec: DeviceSpec, **how: Any) -> object:
        at.lab.register_fido(spec.user, spec.user)
        return real(spec, **how)

    at.patch.setattr(console, "open_console_page", page)
    at.patch.setattr(fido_console, "PACE", 0.05)
    return at.bus.plug(key)


def _prepared(settings: str, insert: Insert = _registering) -> Insert:
    """Plug in a key that the station prepares for a profile with these settings."""

    def plug(at: Setting, key: SimulatedKey) -> object:
        _registering(at, key)
        at.bus.unplug()
        configure(Desk(Path(os.environ["MFA_KIT_HOME"])), f"[profile.desk]\n{settings}")
        return insert(at, key)

    return plug


def _in_no_port(at: Setting, key: SimulatedKey) -> object:
    """Insert an OATH key only. The security key comes after the prompt."""
    assert not at.bus.slots, key
    pcsc.plug(YkoathCard())
    return None


def _come_later(at: Setting, key: SimulatedKey) -> tuple[str | Act, ...]:
    """Plug in a security key that is no card, then use the OATH key."""
    return (lambda: at.bus.plug(key),), "", "q"


@dataclass(frozen=True)
class Command:
    """A command: its words, its lines on stdin or what a person types, and the key.

    `acts` are the answers to prompts, or a function that returns them.
    """

    words: str
    stdin: str = ""
    typed: tuple[str, ...] | None = None
    pin: str | None = None
    insert: Insert = _on_usb
    acts: tuple[str, ...] | Callable[[Setting, SimulatedKey], tuple[str | Act, ...]] = ("q",)


TYPED = 'pin = "typed"\nmin-pin-length = 8'
STATION = "rollout station PLAN MDS --key-profile desk"
COMMANDS: dict[str, Command] = {
    "list": Command("key list"),
    "watch": Command("key list --watch", insert=_watched),
    "info": Command("key info MDS"),
    "metadata": Command("key metadata lab MDS"),
    "verify": Command("verify fido2 MDS"),
    "verify with a PIN": Command("verify fido2 --pin-stdin MDS", f"{PIN}\n", pin=PIN),
    "verify in a reader": Command("verify fido2 MDS", insert=_in_reader),
    "set": Command("key pin set --pin-stdin", f"{PIN}\n"),
    "set at a terminal": Command("key pin set", typed=(PIN,)),
    "set a PIN that is shown": Command("key pin set --generate", typed=()),
    "set a PIN that is encrypted": Command("key pin set --generate -r RECIPIENT -o FILE"),
    "set a PIN that is on a letter": Command("key pin set --generate --letter LETTER", typed=()),
    "change": Command("key pin change --pin-stdin", f"{PIN}\n{PIN}0\n", pin=PIN),
    "change at a terminal": Command("key pin change", typed=(PIN, f"{PIN}0"), pin=PIN),
    "change with two tries left": Command("key pin change", typed=(PIN, f"{PIN}0"), pin=PIN, insert=_almost_locked),
    "change by a script with two tries left": Command(
        "key pin change --pin-stdin", f"{PIN}\n{PIN}0\n", pin=PIN, insert=_almost_locked
    ),
    "change with a blocked key": Command("key pin change", typed=(PIN, f"{PIN}0"), pin=PIN, insert=_blocked),
    "change by a script with a blocked key": Command(
        "key pin change --pin-stdin", f"{PIN}\n{PIN}0\n", pin=PIN, insert=_blocked
    ),
    "policy": Command("key pin policy --min-length 8 --pin-stdin --yes --key KEY-7", f"{PIN}\n", pin=PIN),
    "reset": Command("key reset --yes --erase-oath --key KEY-7", insert=_to_be_erased),
    "enroll": Command("enroll USER --with fido2 MDS", insert=_registering),
    "station": Command("rollout station PLAN MDS", typed=()),
    "station with a random PIN": Command(
        STATION,
        typed=(),
        insert=_prepared(f'pin = "random"\nalways-uv = true\nrecipients = ["{RECIPIENT}"]'),
        acts=("", "q"),
    ),
    "station with a typed PIN": Command(STATION, typed=(PIN,), insert=_prepared(TYPED), acts=("", "q")),
    "station with two tries left": Command(
        STATION, typed=(PIN,), pin=PIN, insert=_prepared(TYPED, _almost_locked), acts=("", "q")
    ),
    "station with a pair": Command(
        "rollout station PAIRS MDS -r RECIPIENT", typed=(), insert=_in_no_port, acts=_come_later
    ),
    "station with a blocked key": Command(
        STATION, typed=(PIN,), pin=PIN, insert=_prepared(TYPED, _blocked), acts=("", "q")
    ),
}


@pytest.fixture
def commands(
    bus: Bus,
    maker: AttestationCa,
    desk: Desk,
    published: Published,
    at_lab: Lab,
    users: Callable[[], str],
    tmp_path: Path,
    recipient: str,
) -> Iterator[Callable[[str], Callable[[], Result]]]:
    """Return a function that plugs in a key for a command, and returns what runs it."""
    numbers = count()
    with ExitStack() as stack:

        def make(name: str) -> Callable[[], Result]:
            command = COMMANDS[name]
            stack.close()
            bus.unplug()
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            folder = tmp_path / str(next(numbers))
            folder.mkdir()
            patch.setenv("MFA_KIT_HOME", str(folder / "desk"))
            at = Setting(bus, desk, at_lab, users, folder, recipient, patch)
            pcsc.clear()
            command.insert(at, key := lab_key(maker, pin=command.pin))
            patch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(command.stdin.encode())))
            if command.typed is not None:
                acts = command.acts if isinstance(command.acts, tuple) else command.acts(at, key)
                person = AtStation(*acts, codes=command.typed)
                patch.setattr(terminal, "find_person", lambda **_: person)
            words = [word for each in command.words.split() for word in _filled(each, at, published)]
            return lambda: desk.run(*words)

        yield make


def _filled(word: str, at: Setting, published: Published) -> Sequence[str]:
    match word:
        case "MDS":
            return published.options
        case "USER":
            return [at.users()]
        case "RECIPIENT":
            return [at.recipient]
        case "FILE" | "LETTER":
            return [str(at.folder / ("pin.age" if word == "FILE" else "pin.pdf"))]
        case "PLAN" | "PAIRS":
            roster, plan = at.folder / "roster.csv", at.folder / "plan.json"
            roster.write_text(f"user,kind\n{at.users()},{'fido2' if word == 'PLAN' else 'pair'}\n")
            assert at.desk.run("rollout", "plan", roster, "-o", plan).code == 0
            return [str(plan)]
        case _:
            return [word]


@pytest.mark.slow
def test_any_exception_at_a_port_ends_the_program_cleanly(
    commands: Callable[[str], Callable[[], Result]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Each method that a command calls, each class of exceptions: 100 in a full run.

    An adapter for cards takes an exception of the card for an answer that cannot be read.
    """
    everywhere = places_of("fido")
    pairs: list[tuple[str, Place]] = []
    for name in COMMANDS:
        pairs += [(name, place) for place in called_places(everywhere, commands(name))]
    assert incomplete(map(str, everywhere), {str(place) for _, place in pairs}, NOT_RAISED) == []
    flaws = [
        (
            name,
            ending(
                place,
                error,
                commands(name),
                tmp_path,
                rows=name.startswith("station "),
                invalid=DeviceFault.exit_code if place.owner is _Card else None,
            ),
        )
        for name, place, error in spread(size(25, 100), pairs)
    ]
    assert [flaw for flaw in flaws if flaw[1]] == []
    assert SECRET not in "".join(capfd.readouterr())

"""A card in a reader that real PC/SC serves, and a person who touches it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from mfa_kit.adapters.oath.applet import Keys
from mfa_kit.adapters.oath.card import CredentialOptions, OathCard
from mfa_kit.core.errors import DeviceFault
from mfa_kit.core.otp import Secret
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.oath_keys.credential import OathKey
from tests import pcsc


@pytest.fixture(scope="session", autouse=True)
def _readers_end() -> Iterator[None]:
    with pcsc.stopped():
        yield


@pytest.fixture
def card() -> YkoathCard:
    """Insert a key into the first reader."""
    card = YkoathCard()
    pcsc.plug(card)
    return card


@dataclass
class Person:
    """Receives the messages, and types the passwords."""

    said: list[str] = field(default_factory=list)
    passwords: list[str] = field(default_factory=list)

    def password(self, _key: OathKey) -> Secret[str]:
        return Secret(self.passwords.pop(0))


@pytest.fixture
def person() -> Person:
    return Person()


@pytest.fixture
def keys(person: Person) -> Keys:
    return Keys(say=person.said.append, password=person.password)


def only(keys: Keys) -> OathKey:
    """Return the one key that is plugged in."""
    found, wrong = keys.look()
    assert not wrong, wrong
    (key,) = found
    return key


@pytest.fixture
def seat(keys: Keys) -> Callable[..., OathCard]:
    """Return a function that makes a carrier of the only key, at a fixed time."""

    def make(*, at: float = 1_700_000_000.0, **way: object) -> OathCard:
        return OathCard(
            keys,
            only(keys),
            options=CredentialOptions(**{"touch": False, **way}),  # type: ignore[arg-type]
            now=lambda: at,
            sleep=lambda _: None,
        )

    return make


def fault(error: pytest.ExceptionInfo[DeviceFault]) -> str:
    return f"{error.value}; {error.value.hint}"

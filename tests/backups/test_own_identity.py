"""Tests of this computer's identity, without files: which recipient is used, and when the passphrase is asked for."""

from pathlib import Path

import pytest

from mfa_kit.backups.own_identity import (
    WORDS,
    IdentityFiles,
    existing_identity,
    own_recipient,
    planned_recipient,
    proquint,
    unlock,
)
from mfa_kit.core.errors import UsageFault, WrongPassphrase
from mfa_kit.core.otp import Secret
from tests.tokens.person import Person


class Silent:
    """A Progress that prints nothing."""

    def note(self, text: str) -> None: ...

    def alert(self, text: str) -> None: ...


FILE, LONG = Path("/home/identity-age1x.age"), "correct horse battery"


def files(*found: str, proven: str | None = None) -> IdentityFiles:
    return IdentityFiles(
        home=Path("/home"),
        find=lambda: [Path(name) for name in found],
        create=lambda _: (FILE, "age1new"),
        recipient_in_name=lambda _: "age1named",
        unused_recipient=lambda: "age1unused",
        proven_recipient=lambda _: proven,
        prove=lambda _, passphrase: f"age1proven-{len(passphrase.reveal())}",
    )


def recipient(identities: IdentityFiles, person: Person, typed: str | None = None) -> str:
    return own_recipient(
        identities,
        descriptor=None if typed is None else 3,
        read_secret=lambda _: Secret(typed or ""),
        random_bits=lambda bits: (1 << bits) - 1,
        person=person,
        progress=Silent(),
    )


def test_the_recipient_of_an_identity_is_proven_once() -> None:
    """A passphrase from a file descriptor is checked each time."""
    assert recipient(files(str(FILE), proven="age1known"), Person()) == "age1known"
    assert recipient(files(str(FILE)), Person(["abc"])) == "age1proven-3"
    assert recipient(files(str(FILE), proven="age1known"), Person(), LONG) == f"age1proven-{len(LONG)}"
    assert planned_recipient(files(str(FILE))) == "age1named"


def test_an_identity_is_created_on_first_use() -> None:
    """The passphrase is typed, is made up by mfa-kit and typed once, or is read from a file descriptor."""
    assert planned_recipient(files()) == "age1unused"
    assert recipient(files(), Person(["type one", "short", LONG])) == "age1new"
    generated = "-".join([proquint(0xFFFF)] * WORDS)
    assert recipient(files(), Person(["generate one", "another", generated])) == "age1new"
    assert recipient(files(), Person(), LONG) == "age1new"
    with pytest.raises(UsageFault, match="the passphrase on file descriptor 3 has fewer than"):
        recipient(files(), Person(), "short")
    with pytest.raises(UsageFault, match="there is no passphrase on file descriptor 3"):
        recipient(files(), Person(), "")


def test_exactly_one_identity_is_expected() -> None:
    with pytest.raises(UsageFault, match="there are 2 identities"):
        recipient(files("a", "b"), Person())
    for found in ((), ("a", "b")):
        with pytest.raises(UsageFault, match=f"there are {len(found)} identities"):
            existing_identity(files(*found))
    assert existing_identity(files("a")) == Path("a")


def test_a_wrong_passphrase_can_be_typed_again_twice() -> None:
    def decrypt(_: Path, passphrase: Secret[str]) -> str:
        if passphrase != Secret(LONG):
            raise WrongPassphrase("the passphrase is wrong", "try again")
        return "opened"

    person = Person(["one", "two", LONG])
    assert unlock(FILE, decrypt, person) == "opened"
    assert person.told.count("the passphrase is wrong") == 2
    with pytest.raises(WrongPassphrase):
        unlock(FILE, decrypt, Person(["one", "two", "three"]))

"""Sessions with MFA for other programs, with codes of a key over real PC/SC, in processes of their own."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from mfa_kit.lab.devices.oathcard import YkoathCard
from tests import pcsc
from tests.conftest import ACCOUNT
from tests.sessions.desk import Desk, new_lab, parsed


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    with new_lab() as lab:
        yield Desk(lab, tmp_path, more=pcsc.shared().env)


def insert(desk: Desk, *, touch: bool = False, **how: object) -> YkoathCard:
    """Plug in a key that holds the credential of alice's device."""
    card = YkoathCard(**how)  # type: ignore[arg-type]
    card.credentials[desk.label] = desk.credential(touch=touch)
    pcsc.plug(card)
    return card


def test_a_key_without_a_terminal_gives_one_session_until_it_is_nearly_over(desk: Desk) -> None:
    """The second call finds the session in the cache: no call to AWS, and no command to the key."""
    card = insert(desk)
    first = desk.run()
    assert first.returncode == 0, first.stderr
    assert first.stderr == ""
    assert parsed(first.stdout)["AccountId"] == ACCOUNT
    assert desk.made == ["GetSessionToken"]
    assert [call.operation for call in desk.lab.calls] == desk.made  # one call to AWS in all
    card.log.clear()
    assert desk.run().stdout == first.stdout
    assert (desk.made, card.log) == (["GetSessionToken"], [])

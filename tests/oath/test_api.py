"""Tests of `mfa_kit.api` with an OATH key over real PC/SC."""

import re
import sys
from dataclasses import asdict

import pytest

from mfa_kit import api
from mfa_kit.lab.aws.server import Lab
from mfa_kit.lab.devices.oathcard import YkoathCard
from mfa_kit.lab.devices.reader import Readers
from tests import pcsc
from tests.conftest import MfaKit, bare
from tests.oath.test_commands import process, serial_of
from tests.terminal.spawn import MFA_KIT, run
from tests.test_api import Person


@pytest.mark.usefixtures("mfa_kit")
def test_an_enrollment_asks_the_interaction_for_touches(lab: Lab, user: str, card: YkoathCard) -> None:
    """The key has IAM's secret, and `touch` is called for each of its two codes. Messages go to `progress`."""
    person, said = Person(), list[str]()
    with api.MfaKit(interaction=person, progress=said.append) as kit:
        made = asdict(kit.enroll(user, api.OathKey()))
    assert (made["outcome"], made["kind"], made["hardware"]) == ("enrolled", "oath", "12345678")
    (credential,) = card.credentials.values()
    assert (credential.key, credential.touch) == (lab.seed(serial_of(user)), True)
    assert len(person.touched) == card.touches == 2
    assert not [text for text in said if "touch" in text]


@pytest.mark.usefixtures("mfa_kit")
def test_a_key_without_touch_needs_no_interaction(user: str, card: YkoathCard) -> None:
    with api.MfaKit() as kit:
        assert isinstance(kit.enroll(user, api.OathKey(touch=False)), api.EnrolledUser)
        row = kit.status(user)[0]
        assert (row.kind, row.key_serial) == ("virtual", "12345678")
        with pytest.raises(api.Declined):  # the removal has to be confirmed
            kit.revoke(user, leave_without_mfa=True)
    with api.MfaKit(interaction=Person()) as kit:
        kit.revoke(user, leave_without_mfa=True)
    assert not card.credentials


@pytest.mark.usefixtures("mfa_kit")
def test_faults_of_keys_have_the_class_of_their_exit_code(user: str) -> None:
    pcsc.plug()
    with api.MfaKit() as kit:
        with pytest.raises(api.DeviceFault) as fault:
            kit.enroll(user, api.OathKey(touch=False))
        assert fault.value.exit_code == 3
        pcsc.plug(YkoathCard(serial=1111), YkoathCard(serial=2222))
        with pytest.raises(api.Declined):  # which of the two
            kit.enroll(user, api.OathKey(touch=False))
        assert isinstance(kit.enroll(user, api.OathKey(key="2222", touch=False)), api.EnrolledUser)


@pytest.mark.usefixtures("card")
def test_the_password_of_a_key_comes_from_the_interaction(mfa_kit: MfaKit, user: str) -> None:
    assert process(mfa_kit, "key", "password", "set", "--password-stdin", told="a password\n")[0] == 0
    person = Person(passphrase="a password")
    with api.MfaKit(interaction=person) as kit:
        assert isinstance(kit.enroll(user, api.OathKey(touch=False)), api.EnrolledUser)
    assert len(person.asked) == 1
    assert "OATH password" in person.asked[0]


# A program that uses the API. Its `pin` and its `passphrase` give different answers.
PROGRAM = """
import sys
from mfa_kit import api

class Person:
    def pin(self, prompt): print(f"pin: {prompt}"); return "1234"
    def passphrase(self, prompt): print(f"passphrase: {prompt}"); return "a password"

with api.MfaKit(interaction=Person()) as kit:
    print(kit.enroll(sys.argv[1], api.OathKey(touch=False)).outcome)
"""


def test_a_reader_with_pin_in_its_name_does_not_change_the_question(mfa_kit: MfaKit, user: str) -> None:
    """The OATH applet gets the OATH password, never the FIDO PIN, because the question is a value."""
    card = YkoathCard(management=False)
    with Readers(["Token2 FIDO2 PIN+"]) as readers:
        readers.insert(card)
        env = {**bare(), **mfa_kit.env, **readers.env, "MFA_KIT_HOME": str(mfa_kit.home)}
        locked = run([*MFA_KIT, "key", "password", "set", "--password-stdin"], env=env, told="a password\n")
        assert (locked.returncode, bool(card.password)) == (0, True), locked.stderr
        enrolled = run([sys.executable, "-c", PROGRAM, user], env=env, told="")
    question, outcome = enrolled.stdout.splitlines()
    assert outcome == "enrolled"
    assert re.fullmatch(r"passphrase: OATH password of .*PIN\+.*", question)

"""Asks for a new passphrase for an identity file: the user types a passphrase or accepts a generated one."""

from collections.abc import Callable

from mfa_kit.core.errors import Declined
from mfa_kit.core.interaction import Interaction
from mfa_kit.core.otp import Secret

INSTEAD = "-r RECIPIENT, -R FILE or --passphrase-fd N"
# The minimum number of characters. An attacker who has the identity file can try passphrases without limit.
SHORTEST = 12
# Proquints (arXiv:0901.4016) write 16 bits as five letters that can be read aloud. Seven proquints have 112 bits.
CONSONANTS, VOWELS = "bdfghjklmnprstvz", "aiou"
WORDS = 7


def can_ask_passphrase(person: Interaction) -> bool:
    """Return whether there is a terminal at which the user can choose a passphrase."""
    try:
        person.check(instead=INSTEAD)
    except Declined:
        return False
    return True


def ask_new_passphrase(person: Interaction, *, random_bits: Callable[[int], int]) -> Secret[str]:
    """Return a passphrase that the user typed twice, or a generated passphrase that the user wrote down and typed.

    `random_bits` returns a random number with the given number of bits.
    """
    if person.choose("passphrase", ["type one", "generate one"], instead=INSTEAD) == 0:
        while True:
            typed = person.ask_new_secret("passphrase", instead=INSTEAD)
            if not (fault := fault_of_passphrase(typed)):
                return typed
            person.say(f"this passphrase {fault}")
    words = Secret("-".join(proquint(random_bits(16)) for _ in range(WORDS)))
    while True:
        try:
            person.show(words, instead=INSTEAD)
            person.pause("write it down, then press Enter", instead=INSTEAD)
        finally:
            person.clear()
        if person.ask_secret("passphrase", instead=INSTEAD) == words:
            return words
        person.say("that doesn't match; here it is again")


def fault_of_passphrase(passphrase: Secret[str]) -> str | None:
    """Return why a new passphrase is refused, such as "has fewer than 12 characters", or None if it is long enough."""
    return None if len(passphrase.reveal()) >= SHORTEST else f"has fewer than {SHORTEST} characters"


def proquint(bits: int) -> str:
    """Spell 16 bits as a word of five letters. Each consonant encodes four bits, and each vowel two."""
    first, second, third = (CONSONANTS[bits >> shift & 15] for shift in (12, 6, 0))
    return f"{first}{VOWELS[bits >> 10 & 3]}{second}{VOWELS[bits >> 4 & 3]}{third}"

"""A new passphrase for this computer's identity: a person types one, or keeps one that is made here."""

from collections.abc import Callable

from mfa_kit.core.interaction import Interaction
from mfa_kit.core.otp import Secret

INSTEAD = "-r RECIPIENT, -R FILE or --passphrase-fd N"
# Proquints (arXiv:0901.4016): 16 bits as five letters that can be read aloud. Seven are 112 bits.
CONSONANTS, VOWELS = "bdfghjklmnprstvz", "aiou"
WORDS = 7


def ask_new_passphrase(person: Interaction, *, random_bits: Callable[[int], int]) -> Secret[str]:
    """Return a passphrase that a person typed twice, or one that was made here, which they type to prove they have it.

    `random_bits` returns a number of so many random bits.
    """
    if person.choose("passphrase", ["type one", "have one made"], instead=INSTEAD) == 0:
        return person.ask_new_secret("passphrase", instead=INSTEAD)
    words = Secret("-".join(proquint(random_bits(16)) for _ in range(WORDS)))
    while True:
        try:
            person.show(words, instead=INSTEAD)
            person.pause("write it down, for it is not shown again; then press Enter", instead=INSTEAD)
        finally:
            person.clear()
        if person.ask_secret("passphrase", instead=INSTEAD) == words:
            return words
        person.say("that is another one; look again")


def proquint(bits: int) -> str:
    """Spell 16 bits as a word of five letters: consonants of four bits, vowels of two."""
    first, second, third = (CONSONANTS[bits >> shift & 15] for shift in (12, 6, 0))
    return f"{first}{VOWELS[bits >> 10 & 3]}{second}{VOWELS[bits >> 4 & 3]}{third}"

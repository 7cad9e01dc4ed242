"""Finds the time steps at which a device shows typed codes."""

from collections.abc import Iterator

from mfa_kit.core.otp import Seed, codes


def find_pairs(seed: Seed, first: str, second: str, steps: range) -> Iterator[int]:
    """Yield each step at which the device shows one of two codes, if it shows the other one at the step before.

    Both steps are within `steps`. The order in which the codes are given does not matter.

    To save time, only the code of every second step is computed, because one of two consecutive steps is always such a
    step. If a code matches, the codes of the step before and the step after are computed too. By chance, about one step
    in half a million shows one of the two codes. A chance match of both codes is a million times rarer.
    """
    wanted = {first: second, second: first}
    searched = range(steps.start + 1, steps.stop, 2)
    for at, code in zip(searched, codes(seed, searched), strict=True):
        other = wanted.get(code)
        if other is None:
            continue
        before, _, after = codes(seed, range(at - 1, at + 2))
        if other == before:
            yield at
        if other == after and at + 1 < steps.stop:
            yield at + 1


def find_code(seed: Seed, code: str, steps: range) -> Iterator[int]:
    """Yield each of `steps` at which the device shows a code."""
    yield from (at for at, each in zip(steps, codes(seed, steps), strict=True) if each == code)

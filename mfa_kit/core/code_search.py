"""Searches for typed codes among the codes that a device showed in days, or will show soon."""

from collections.abc import Iterator

from mfa_kit.core.otp import Seed, codes


def find_pairs(seed: Seed, first: str, second: str, steps: range) -> Iterator[int]:
    """Yield each step at which the device shows the later one of two consecutive codes.

    Both codes are shown within `steps`. Their order does not matter. Of two consecutive steps, one has an odd distance
    from the start. So at first, only the codes of those steps are computed. If a code matches, the codes of the two
    steps beside it are computed too. One of about half a million steps shows one of the codes by chance. A wrong match
    of both is a million times rarer.
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

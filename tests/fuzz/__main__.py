"""`python -m tests.fuzz COUNT PARSER...`: give each parser COUNT damaged samples, and print what that took.

An example ends with a result or with an error of mfa-kit, within two seconds of CPU time, and the process stays below
300 MB. Otherwise the exit code is not 0.
"""

import faulthandler
import json
import os
import re
import resource
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from mfa_kit.core.errors import MfaKitError
from tests.fuzz.parsers import PARSERS, Parser

SECONDS, MEGABYTES = 2.0, 300
# The megabytes of mfa-kit itself, which has fewer modules than this program.
PROGRAM = 50
# The largest resident size of this program. getrusage includes that of the program that started it.
PEAK = re.compile(r"VmHWM:\s+(\d+) kB")
# An example that waits instead of computing is ended after this time, with a traceback.
WAITING = 60.0
# What confuses parsers, put anywhere.
WORDS = (
    *(b"<", b"&", b'"', b"'", b",", b"\n", b"\r\n", b"=", b"\xff", b"\0", b"]]>", b"<!--", b"9" * 400, b"-1", b"1e999"),
    *(b"&#0;", b"\xc3", b"\xed\xb2\x80", b"[" * 2000, b"{" * 50, b'{"a":' * 1500, b"\xf0\x9f\x98\x80", b"\xe2\x80\xae"),
    *(
        b"%00",
        b"%",
        b"null",
        b"true",
        b"NaN",
        b"0",
        b"1" * 30,
        b"18446744073709551616",
        b"\x7f\xff\xff\xff",
        b"\xff" * 8,
    ),
    *(b"0001-01-01T00:00:00+23:59", b"9999-12-31T23:59:59-23:59", b" ", b"\t", b"a" * 3000),
)
# Each edit is drawn as octets, because one draw is faster than one for each of its parts.
EDITS = st.lists(st.binary(min_size=10, max_size=10), max_size=4)
# Hypothesis keeps what it has tried, so a test has this many examples, and is repeated with another seed.
BATCH = 1000


def edited(sample: bytes, edits: Sequence[bytes]) -> bytes:
    """Return a sample with octets changed, lost, doubled, moved, overwritten or cut off."""
    data = bytearray(sample)
    for edit in edits:
        at, other = (int.from_bytes(edit[at : at + 3]) % (len(data) + 1) for at in (1, 4))
        long, word = edit[7] % 40 + 1, WORDS[edit[8] % len(WORDS)] if edit[8] < 128 else edit[8:]
        match edit[0] % 8:
            case 0 if at < len(data):
                data[at] ^= 1 << long % 8
            case 1:
                del data[at : at + long]
            case 2:
                data[at:at] = data[at : at + long]
            case 3:
                data[at:at] = word
            case 4:
                data[at : at + len(word)] = word
            case 5:
                piece = data[at : at + long]
                del data[at : at + long]
                data[other:other] = piece
            case 6 if abs(at - other) < 10 * long:
                data[min(at, other) : max(at, other)] = word
            case _:
                del data[at if edit[9] < 64 else len(data) :]
    return bytes(data)


class Hang(BaseException):
    """Raised in an example that takes too long."""


def peak() -> int:
    """Return the largest resident size of this process in megabytes."""
    return int(PEAK.search(Path("/proc/self/status").read_text("ascii"))[1]) >> 10  # type: ignore[index]


def reset_peak() -> int:
    """Make the present resident size the largest one (proc(5)), and return it in megabytes.

    Hypothesis keeps each example, so its memory must not count as that of a parser.
    """
    Path("/proc/self/clear_refs").write_text("5", "ascii")
    return peak()


def _hang(_: int, __: FrameType | None) -> None:
    raise Hang


def fuzz(name: str, parser: Parser, samples: Sequence[bytes], count: int) -> dict[str, int]:
    """Try `count` damaged samples.

    Return how many there were, how many were read or refused, and the most megabytes that one took.
    """
    tally = {"examples": 0, "read": 0, "refused": 0, "MB": 0}

    def attempt(content: bytes) -> None:
        faulthandler.dump_traceback_later(WAITING, exit=True)
        signal.setitimer(signal.ITIMER_PROF, SECONDS)
        tally["examples"] += 1
        before = reset_peak()
        try:
            parser.read(content)
            tally["read"] += 1
        except MfaKitError:
            tally["refused"] += 1
        except BaseException as error:
            raise AssertionError(f"{name}: {type(error).__name__} for {content[:2000]!r}") from error
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            faulthandler.cancel_dump_traceback_later()
        used = PROGRAM + peak() - before
        tally["MB"] = max(tally["MB"], used)
        assert used < MEGABYTES, f"{name}: {used} MB for {content[:2000]!r}"

    for sample in samples:
        attempt(sample)
    for batch in range(-(-count // BATCH)):
        decorate = settings(
            max_examples=min(count, BATCH),
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        seed(batch)(decorate(given(st.builds(edited, st.sampled_from(samples), EDITS))(attempt)))()
    return tally


def main(count: int, names: Sequence[str]) -> None:
    """Fuzz parsers, and print one line of JSON for each."""
    signal.signal(signal.SIGPROF, _hang)
    # Encrypting a sample with a passphrase takes up to a gigabyte, so samples are made without a limit.
    samples = {name: PARSERS[name].samples() for name in names}
    # A single allocation beyond this raises MemoryError, which no parser may do.
    limit = 4 * MEGABYTES << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    for name in names:
        began = time.monotonic()
        tally = fuzz(name, PARSERS[name], samples[name], count)
        line = {"parser": name, **tally, "seconds": round(time.monotonic() - began)}
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    os.umask(0o077)
    main(int(sys.argv[1]), sys.argv[2:] or list(PARSERS))

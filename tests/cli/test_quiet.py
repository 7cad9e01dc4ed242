"""--quiet and --verbose: what is printed on stderr."""

import pytest

from tests.conftest import MfaKit

VIRTUAL = ("--with", "virtual", "--codes", "generated")


def test_quiet_prints_nothing_without_problems(mfa_kit: MfaKit, user: str, recipient: str) -> None:
    """The result is on stdout as always. Without --quiet, the account is printed on stderr."""
    words = ("enroll", user, *VIRTUAL, "-r", recipient)
    assert mfa_kit.run(*words, "--dry-run").err
    done = mfa_kit.run("-q", *words)
    assert (done.code, done.err) == (0, "")
    assert "enrolled" in done.out


def test_quiet_keeps_errors_and_warnings(mfa_kit: MfaKit, user: str, recipient: str) -> None:
    """They include users of a plan who cannot be enrolled."""
    refused = mfa_kit.run("enroll", "nobody-here", *VIRTUAL, "-r", recipient, "--quiet")
    assert refused.code == 4
    first, hint = refused.err.splitlines()
    assert first.startswith("mfa-kit: ")
    assert hint.startswith("  try: ")
    roster = mfa_kit.home.parent / "roster.csv"
    roster.write_text(f"user\n{user}\nnobody-here\n")
    done = mfa_kit.run("rollout", "plan", roster, "-o", roster.with_suffix(".json"), "-q")
    assert done.code == 0
    assert [line.partition(": ")[0] for line in done.err.splitlines()] == ["blocked"]


@pytest.mark.parametrize("flag", ["-v", "--verbose", "--debug"])
def test_verbose_prints_each_call(flag: str, mfa_kit: MfaKit, user: str) -> None:
    """Each line has the name of the operation and the request ID. --debug is another name of the option."""
    done = mfa_kit.process("status", user, flag)
    assert done.code == 0
    assert "ListMFADevices answered 200, request " in done.err
    assert "answered" not in mfa_kit.process("status", user).err


def test_quiet_and_verbose_exclude_each_other(mfa_kit: MfaKit) -> None:
    """Giving both is a usage error, before or after the verb."""
    done = mfa_kit.run("-q", "ledger", "show", "-v")
    assert (done.code, done.err.splitlines()[0]) == (2, "mfa-kit: give either --quiet or --verbose")

"""Colors of words in tables: only on a terminal that shows them, and never the only sign."""

import re
from collections.abc import Callable

import pytest

from mfa_kit.audit.finding import RuleResult, Severity
from mfa_kit.cli.forms import STYLES, paint
from mfa_kit.cli.output import Output
from mfa_kit.core.checks import Value
from mfa_kit.doctor.diagnosis import Health
from mfa_kit.rollout.execution import RowOutcome
from tests.conftest import MfaKit, bare
from tests.terminal.spawn import MFA_KIT, spawn

COLOR = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def on_terminal(mfa_kit: MfaKit) -> Callable[..., str]:
    """Run a command on a terminal, and return what it prints."""

    def run(*words: str, **env: str) -> str:
        env = {**bare(), **mfa_kit.env, "MFA_KIT_HOME": str(mfa_kit.home), "TERM": "xterm-256color", **env}
        with spawn([*MFA_KIT, *words], env=env, timeout=120, dimensions=(24, 200)) as child:
            said: str = child.read()
            child.wait()
        return said

    return run


def test_a_table_on_a_terminal_has_colors(on_terminal: Callable[..., str]) -> None:
    """Without its colors, the table is the same text."""
    colored = on_terminal("doctor", "-q")
    assert "\x1b[32mok\x1b[0m" in colored
    words = [line.split()[:3] for line in COLOR.sub("", colored).splitlines()]
    assert words == [line.split()[:3] for line in on_terminal("doctor", "-q", NO_COLOR="1").splitlines()]


@pytest.mark.parametrize(
    ("words", "env"),
    [
        ([], {"NO_COLOR": "1"}),
        ([], {"TERM": "dumb"}),
        ([], {"MFA_KIT_PLAIN": "1"}),
        (["--plain"], {}),
        (["--output", "csv"], {}),
        (["--output", "json"], {}),
    ],
    ids=str,
)
def test_colors_can_be_turned_off(words: list[str], env: dict[str, str], on_terminal: Callable[..., str]) -> None:
    """The forms for programs never have colors."""
    assert "\x1b" not in on_terminal("doctor", "-q", *words, **env)


def test_the_configuration_can_turn_colors_off(mfa_kit: MfaKit, on_terminal: Callable[..., str]) -> None:
    """The key `plain` also applies to verbs that do not need the configuration file."""
    mfa_kit.home.mkdir(mode=0o700)
    (mfa_kit.home / "config.toml").write_text("plain = true\n")
    assert "\x1b" not in on_terminal("doctor", "-q")


def test_a_pipe_gets_no_colors(mfa_kit: MfaKit) -> None:
    """TERM says that the terminal can show colors, but stdout is a pipe."""
    done = mfa_kit.process("doctor", env={"TERM": "xterm-256color"})
    assert " ok " in done.out
    assert "\x1b" not in done.out


def test_columns_are_aligned_and_names_are_not_colored(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Colors do not change the width of a column. A user may have the name of an outcome."""
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *_: False)  # stdout is not a terminal here
    rows = [{"outcome": "failed", "user": "failed"}, {"outcome": "ok", "user": "b"}]
    Output("table", color=True).many("x", rows, empty="")
    Output("table", color=True).one("x", rows[0])
    lines = [line for line in capsys.readouterr().out.splitlines() if line]
    assert [COLOR.sub("", line) for line in lines] == [
        *("OUTCOME  USER", "failed   failed", "ok       b", "outcome  failed", "user     failed"),
    ]
    assert [len(COLOR.findall(line)) for line in lines] == [0, 2, 2, 2, 0]


@pytest.mark.parametrize("word", [*RuleResult, *Severity, *Value, *RowOutcome, *Health])
def test_each_result_severity_and_outcome_has_a_style(word: str) -> None:
    """Only `-` in `doctor` has no style, because it is neither good nor bad."""
    assert word in STYLES or word == "-"
    assert COLOR.sub("", paint(word)) == word

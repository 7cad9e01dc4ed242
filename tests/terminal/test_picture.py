"""The QR code on the screen, read by zbarimg from an image of the terminal."""

import re
import sys
from pathlib import Path

import pyotp
import pytest

from mfa_kit.core.otp import KeyUri
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import symbol
from tests.terminal.conftest import in_good_time
from tests.terminal.window import DARK, LIGHT, Theme, Window, picture, read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ENROLL = [sys.executable, "-m", "mfa_kit", "enroll", "alice", "--with", "virtual"]
SERIAL = "arn:aws:iam::000000000000:mfa/alice"


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=["dark", "light"])
@pytest.mark.parametrize("size", [(100, 40), (60, 30), (200, 60)], ids=str)
def test_the_qr_code_reads_from_the_screen(
    theme: Theme, size: tuple[int, int], env: dict[str, str], tmp_path: Path
) -> None:
    """It is readable in dark and light themes, in narrow and wide windows, below a screen full of other text."""
    window = Window(
        ["/bin/sh", "-c", 'yes "not a code" | head -50; exec "$0" "$@"', *ENROLL],
        env=env,
        cwd=tmp_path,
        size=size,
        apart=False,
    )
    window.see("first code: ")
    uri = read(picture(window.look(), theme), tmp_path / "screen.png")
    window.type("\x03", end="")
    window.end()
    assert pyotp.parse_uri(uri).secret
    assert uri.startswith("otpauth://totp/Amazon%20Web%20Services:alice@000000000000?secret=")


@pytest.mark.parametrize("more", [[], ["--plain"]], ids=["redrawn", "plain"])
def test_without_colors_the_qr_code_alone_has_some(more: list[str], env: dict[str, str], tmp_path: Path) -> None:
    """NO_COLOR concerns text, and there is no colored text. A phone needs black on white in any theme."""
    window = Window([*ENROLL, *more], env={**env, "NO_COLOR": "1"}, cwd=tmp_path, apart=False)
    window.see("first code: ")
    window.type("nonsense")
    window.see("first code: ")
    raw = window.log.getvalue()
    assert read(picture(window.look(), LIGHT), tmp_path / "screen.png").startswith("otpauth://")
    window.type("\x03", end="")
    window.see("interrupted")
    raw += window.log.getvalue()
    window.end()
    colored = re.findall(r"\x1b\[[\d;]*[1-9][\d;]*m([^\x1b\r]*)", raw)
    assert set("".join(colored)) == set(" ▀▄█")


def test_what_is_on_the_screen_is_the_device_of_iam(lab: Lab, env: dict[str, str], tmp_path: Path) -> None:
    """A phone that scans it shows codes that IAM accepts."""
    window = Window(ENROLL, env=env, cwd=tmp_path)
    window.see("first code: ")
    phone = pyotp.parse_uri(read(picture(window.look(), DARK), tmp_path / "screen.png"))
    assert isinstance(phone, pyotp.TOTP)
    now = in_good_time(lab)
    window.type(phone.at(now - 30))
    window.see("second code: ")
    window.type(phone.at(now))
    assert window.end() == 0
    assert lab.assigned(SERIAL) == "alice"


def test_a_mistake_leaves_the_qr_code_where_it_is(env: dict[str, str], tmp_path: Path) -> None:
    """Any number of messages scrolls below it."""
    window = Window(ENROLL, env=env, cwd=tmp_path, size=(80, 30))
    for _ in range(6):
        window.see("first code: ")
        window.type("nonsense")
    window.see("first code: ")
    page = picture(window.look(), LIGHT)
    window.type("\x03", end="")
    window.end()
    assert read(page, tmp_path / "screen.png").startswith("otpauth://")


def test_the_countdown_leaves_what_is_typed(env: dict[str, str], tmp_path: Path) -> None:
    """It redraws the line above the prompt. A code that is half typed stays, and can be completed."""
    window = Window(ENROLL, env=env, cwd=tmp_path)
    window.see("first code: ")
    window.type("12", end="")
    window.see("next code in")
    window.see("next code in")
    lines = window.look().display
    window.type("\x03", end="")
    window.end()
    prompt = next(number for number, line in enumerate(lines) if line.startswith("first code: "))
    assert lines[prompt].rstrip() == "first code: 12"
    assert lines[prompt - 1].startswith("next code in")


def test_keys_typed_ahead_are_no_answer(env: dict[str, str], tmp_path: Path) -> None:
    """Input from before the question, such as from a token that was touched by accident, is dropped."""
    window = Window(ENROLL, env=env, cwd=tmp_path)
    window.type("999999")
    window.see("first code: ")
    window.type("\x03", end="")
    window.end()
    assert "999999:" not in window.screen.text()
    assert "no code" not in window.screen.text()


@pytest.mark.parametrize(("name", "lines"), [("a", 25), ("firstname.lastname@example.com", 27), ("n" * 64, 29)])
def test_the_symbol_is_as_small_as_can_be(name: str, lines: int) -> None:
    """25 to 29 lines for a secret of AWS's length: error correction L, mixed modes, a quiet zone of two modules."""
    uri = KeyUri(
        f"otpauth://totp/Amazon%20Web%20Services:{name}@123456789012?secret={'ABCDEFG2' * 8}"
        "&issuer=Amazon%20Web%20Services"
    )
    assert symbol.blocks(uri).reveal().count("\n") + 1 == lines

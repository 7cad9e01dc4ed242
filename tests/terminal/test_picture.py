"""The QR code on the screen, read by zbarimg from an image of the terminal."""

import re
from pathlib import Path

import pyotp
import pytest
import zxingcpp

from mfa_kit.core.otp import KeyUri, Seed
from mfa_kit.lab.aws.server import Lab
from mfa_kit.qr_codes import key_uri, symbol
from tests.terminal.conftest import in_good_time
from tests.terminal.spawn import MFA_KIT
from tests.terminal.window import DARK, LIGHT, Theme, Window, picture, read

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]

ENROLL = [*MFA_KIT, "enroll", "alice", "--with", "virtual"]
SERIAL = "arn:aws:iam::000000000000:mfa/alice"


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=["dark", "light"])
@pytest.mark.parametrize("size", [(80, 24), (100, 40), (60, 30), (200, 60)], ids=str)
def test_the_qr_code_can_be_scanned_from_the_screen(
    theme: Theme, size: tuple[int, int], env: dict[str, str], tmp_path: Path
) -> None:
    """It is readable in dark and light themes, in narrow and wide windows, and below a screen full of other text."""
    window = Window(
        ["/bin/sh", "-c", 'yes "not a code" | head -50; exec "$0" "$@"', *ENROLL],
        env=env,
        cwd=tmp_path,
        size=size,
        apart=False,
    )
    window.see("first code: ")
    page = picture(window.look(), theme)
    uri = read(page, tmp_path / "screen.png")
    window.type("\x03", end="")
    window.end()
    assert pyotp.parse_uri(uri).secret
    assert uri.startswith("otpauth://totp/AWS:alice@000000000000?secret=")
    assert [each.text for each in zxingcpp.read_barcodes(page)] == [uri]


def test_a_default_window_has_the_prompts_beside_the_qr_code(lab: Lab, env: dict[str, str], tmp_path: Path) -> None:
    """The user types two codes there, also after mistakes. The messages are wrapped at words."""
    window = Window(ENROLL, env=env, cwd=tmp_path, size=(80, 24))
    window.see("first code: ")
    phone = pyotp.parse_uri(read(picture(window.look(), DARK), tmp_path / "screen.png"))
    assert isinstance(phone, pyotp.TOTP)
    window.type("nonsense")
    window.see("first code: ")
    # An answer that is too long for the line writes over the symbol, until the page is drawn again.
    window.type("x" * 200)
    window.see("first code: ")
    now = in_good_time(lab)
    window.type(phone.at(now - 30))
    window.see("second code: ")
    screen = window.look()
    beside = " ".join(line[47:].rstrip() for line in screen.display)
    for said in ("scan it with alice's authenticator app, then type what the app shows", "without letters"):
        assert said in beside
    assert screen.display[screen.cursor.y][47:].rstrip() == "second code:"
    assert screen.cursor.x == 47 + len("second code: ")
    assert read(picture(screen, DARK), tmp_path / "screen.png").startswith("otpauth://totp/AWS:alice@")
    window.type(phone.at(now))
    assert window.end() == 0
    assert lab.assigned(SERIAL) == "alice"


def test_the_page_follows_the_size_of_the_window(env: dict[str, str], tmp_path: Path) -> None:
    """In a small window, a line with the required size replaces the QR code."""
    window = Window(ENROLL, env=env, cwd=tmp_path, size=(80, 24))
    window.see("first code: ")
    window.resize(60, 20)
    window.see("enlarge the window to 71x24")
    window.see("first code: ")
    small = window.look()
    assert not read(picture(small, DARK), tmp_path / "screen.png")
    window.resize(100, 30)
    window.see("first code: ")
    page = picture(window.look(), DARK)
    window.type("\x03", end="")
    window.end()
    assert read(page, tmp_path / "screen.png").startswith("otpauth://totp/AWS:alice@")


@pytest.mark.parametrize("name", ["a", "n" * 20, "firstname.lastname@example.com", "first.last+1=2,3@4-5_"])
def test_the_symbol_of_a_usual_name_fits_a_default_window(name: str) -> None:
    """It takes 45 columns and 23 lines, which leaves a column of 33 characters for the prompts."""
    lines = symbol.blocks(short_uri(name)).reveal().splitlines()
    assert (len(lines), {len(line) for line in lines}) == (23, {45})


def short_uri(name: str) -> KeyUri:
    return key_uri.short_otpauth(Seed(bytes(range(40))), device=name, account="123456789012")


@pytest.mark.parametrize("more", [[], ["--plain"]], ids=["redrawn", "plain"])
def test_with_no_color_the_qr_code_stays_black_on_white(more: list[str], env: dict[str, str], tmp_path: Path) -> None:
    """NO_COLOR is about text. A phone needs black on white in any theme."""
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


def test_the_qr_code_has_the_secret_of_the_device(lab: Lab, env: dict[str, str], tmp_path: Path) -> None:
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


def test_mistakes_do_not_move_the_qr_code(env: dict[str, str], tmp_path: Path) -> None:
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


def test_the_countdown_does_not_disturb_typing(env: dict[str, str], tmp_path: Path) -> None:
    """It redraws the line above the prompt. A half-typed code stays, and can be completed."""
    window = Window(ENROLL, env=env, cwd=tmp_path)
    window.see("first code: ")
    window.type("12", end="")
    window.see("next code in")
    window.see("next code in")
    lines = [line[47:] for line in window.look().display]
    window.type("\x03", end="")
    window.end()
    prompt = next(number for number, line in enumerate(lines) if line.startswith("first code: "))
    assert lines[prompt].rstrip() == "first code: 12"
    assert lines[prompt - 1].startswith("next code in")


def test_keys_typed_before_the_prompt_are_discarded(env: dict[str, str], tmp_path: Path) -> None:
    """Such input comes, for example, from a YubiKey that was touched by accident."""
    window = Window(ENROLL, env=env, cwd=tmp_path)
    window.type("999999")
    window.see("first code: ")
    window.type("\x03", end="")
    window.end()
    assert "999999:" not in window.screen.text()
    assert "no code" not in window.screen.text()


def test_the_longest_name_needs_two_lines_more() -> None:
    """A device name has at most 64 characters."""
    assert symbol.blocks(short_uri("n" * 64)).reveal().count("\n") + 1 == 25

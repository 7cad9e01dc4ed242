"""Inputs that fuzzing found. Each of them raised an error that was not mfa-kit's own."""

import subprocess
import sys
from pathlib import Path

import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.wiring import settings


def test_a_configuration_that_is_nested_too_deep_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path))
    tmp_path.chmod(0o700)
    (tmp_path / "config.toml").write_text("recipients = " + "[" * 100_000)
    (tmp_path / "config.toml").chmod(0o600)
    with pytest.raises(UsageFault, match="is not valid TOML"):
        settings.load_config()


ACTUAL = """
import io, re, sys
import subprocess
import sys
from pathlib import Path
from PIL import Image
from mfa_kit.core.errors import IntegrityFault
from mfa_kit.core.otp import Png
from mfa_kit.qr_codes.reading import read_accounts
made = io.BytesIO()
Image.new(sys.argv[2], (7000, 7000)).save(made, sys.argv[1])
Path("/proc/self/clear_refs").write_text("5")
try:
    read_accounts(Png(made.getvalue()))
except IntegrityFault:
    print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) >> 10)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "mode"),
    [("JPEG", "RGB"), ("JPEG", "CMYK"), ("PNG", "RGB"), ("PNG", "I;16"), ("TIFF", "RGB"), ("BMP", "RGB")],
)
def test_a_picture_of_the_largest_size_stays_below_300_megabytes(form: str, mode: str) -> None:
    """A picture of 49 megapixels with four channels once took 445 MB."""
    done = subprocess.run([sys.executable, "-c", ACTUAL, form, mode], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 300

"""What the fuzzing found, as examples: each was an error that is not mfa-kit's own."""

from pathlib import Path

import pytest

from mfa_kit.core.errors import UsageFault
from mfa_kit.wiring import config


def test_a_configuration_that_is_nested_too_deep_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MFA_KIT_HOME", str(tmp_path))
    tmp_path.chmod(0o700)
    (tmp_path / "config.toml").write_text("recipients = " + "[" * 100_000)
    (tmp_path / "config.toml").chmod(0o600)
    with pytest.raises(UsageFault, match="is not valid TOML"):
        config.load()

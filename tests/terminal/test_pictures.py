"""The pictures in the docs show what the program prints today. `python -m tests.pictures` writes new pictures."""

from pathlib import Path

import pytest

from tests import pictures
from tests.letters.judges import text_of as pdf_text


@pytest.mark.slow
def test_the_picture_of_a_session_is_current(tmp_path: Path) -> None:
    shown = pictures.words(pictures.session(tmp_path))
    assert "first code" in shown
    assert shown == pictures.words(pictures.text_of(pictures.SESSION))


@pytest.mark.slow
def test_the_picture_of_a_rollout_is_current(tmp_path: Path) -> None:
    shown = pictures.words(pictures.rollout(tmp_path))
    assert "failed users" in shown
    assert shown == pictures.words(pictures.text_of(pictures.ROLLOUT))


@pytest.mark.slow
def test_the_picture_of_an_audit_is_current(tmp_path: Path) -> None:
    shown = pictures.words(pictures.audit(tmp_path))
    assert "checks passed" in shown
    assert shown == pictures.text_of(pictures.AUDIT)


@pytest.mark.slow
def test_the_pictures_of_a_station_are_current(tmp_path: Path) -> None:
    """Both views, while the second of three users scans the QR code."""
    for file, (page, _) in pictures.station(tmp_path).items():
        assert pictures.words(page) == pictures.text_of(file), file.name


@pytest.mark.slow
def test_the_pictures_of_letters_are_current(tmp_path: Path) -> None:
    page, pdf = pictures.letters(tmp_path)
    assert pictures.words(page) == pictures.text_of(pictures.PARCEL)
    assert pictures.words(pdf_text(pdf)) == pictures.text_of(pictures.SECOND)

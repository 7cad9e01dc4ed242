"""Types of option values, such as lengths of time and places of backups, and a decorator that adds several options."""

import math
import os
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import click

from mfa_kit.core.errors import UsageFault
from mfa_kit.core.models import BackupLocation, parse_location
from mfa_kit.core.text import readable_day, refuse_private_key

F = TypeVar("F", bound=Callable[..., Any])

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Number(click.FloatRange):
    """A parameter type: a number from 0 up to a maximum.

    Unlike click's FloatRange, this type rejects nan, which is neither below nor above any limit.
    """

    name = "number"

    def __init__(self, most: float = 1e6) -> None:
        super().__init__(0, most)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return number


class Age(click.ParamType[float]):
    """A parameter type: a length of time such as 30s, 30m, 24h or 7d, converted to seconds."""

    name = "age"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        number, unit = value[:-1], value[-1:]
        if not number.isdecimal() or unit not in UNITS:
            raise UsageFault(f"{value!r} is not a length of time", "write 30s, 30m, 24h or 7d")
        return float(number) * UNITS[unit]


class Moment(click.ParamType[float]):
    """A parameter type: a point in time, converted to Unix seconds.

    The text is an ISO 8601 date or time (UTC unless it has an offset), or an age such as 7d: that long before now.
    """

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        try:
            moment = datetime.fromisoformat(value)
        except ValueError:
            try:
                return time.time() - Age().convert(value, param, ctx)
            except UsageFault:
                raise UsageFault(f"{value!r} is not a time", "write 2026-11-25, 2026-11-25T10:00 or 7d") from None
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


class Day(click.ParamType[str]):
    """A parameter type: a date that is not in the past, such as 2026-12-01. Its value is for letters: `1 Dec 2026`."""

    name = "date"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the date. Raise UsageFault if the text is not a date, or if the day is over in every time zone."""
        try:
            day = date.fromisoformat(value)
        except ValueError:
            raise UsageFault(f"{value!r} is not a date", "write the year, the month and the day: 2026-12-01") from None
        if day < datetime.now(UTC).date() - timedelta(days=1):
            raise UsageFault(f"{value} is in the past", "give today or a later date")
        return readable_day(day)


class LocalPath(click.Path):
    """A parameter type: a path on this computer. The file or folder need not exist."""

    def __init__(self, **checks: bool) -> None:
        super().__init__(path_type=Path, readable=False, **checks)  # check_path says why it cannot be read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """Return the path. Raise UsageFault if `check_path` refuses it, and BadParameter if a check of click does."""
        if not (self.allow_dash and value == "-"):
            check_path(value)
        return Path(str(super().convert(value, param, ctx)))


def check_path(path: str | Path) -> None:
    """Raise UsageFault if the system refuses a path: a name is too long, or a folder on the way may not be entered.

    Links are followed. What exists must be readable, and a folder must also be one that may be entered.
    """
    try:
        os.stat(os.path.join(path or ".", "."))  # noqa: PTH116, PTH118 - a Path would drop the dot
    except (FileNotFoundError, NotADirectoryError):
        pass  # the command that reads or writes it says so
    except OSError as error:
        refuse_private_key(str(path))
        raise UsageFault(
            f"{path} cannot be used: {error.strerror}", "give another path, or check the permissions of its folders"
        ) from None
    if os.access(path, os.F_OK) and not os.access(path, os.R_OK):
        raise UsageFault(f"{path} cannot be read: Permission denied", "check its permissions, or give another path")


class PlaceType(click.ParamType[BackupLocation]):
    """A parameter type: a path on this computer, or an S3 URL."""

    name = "place"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> BackupLocation:
        """Return the path or the S3 URL. Raise UsageFault for an invalid S3 URL, and for any other URL.

        If the path has a part `..`, return it without this part, because the last parts of a path name a backup.
        """
        place = parse_location(value) if isinstance(value, str) else value
        if not isinstance(place, Path) or ".." not in place.parts:
            return place
        return place.resolve() if place.name == ".." else place.parent.resolve() / place.name


def add_options(*added: Callable[[Any], Any]) -> Callable[[F], F]:
    """Return a decorator that adds options and arguments to the function of a command, in this order."""

    def add(function: F) -> F:
        for decorate in reversed(added):
            function = decorate(function)
        return function

    return add

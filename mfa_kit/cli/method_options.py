"""Builds click options from the dataclass of an enrollment method's options, and the dataclass from their values."""

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from enum import StrEnum
from pathlib import Path
from typing import Any, get_args

import click

from mfa_kit.wiring.methods.recipe import OPTION, Option, Options


def single(kind: type[Options]) -> set[str]:
    """Return the names of those options of an enrollment method that apply to a single device.

    `kind` is the dataclass of the method's options.
    """
    return {each.name for each in fields(kind) if _option(each).single}


def click_options(kind: type[Options]) -> list[click.Option]:
    """Return the fields of `kind`, the dataclass of an enrollment method's options, as click options."""
    return [_click_option(each, _option(each)) for each in fields(kind)]


def built(kind: type[Options], values: Mapping[str, object]) -> Options:
    """Return an instance of `kind`, the dataclass of an enrollment method's options.

    `values` maps names of options to values. Names that are not fields of `kind` are ignored.
    """
    build: Callable[..., Options] = kind
    return build(**{each.name: _value(each, values[each.name]) for each in fields(kind) if each.name in values})


def _option(declared: Field[Any]) -> Option:
    option: Option = declared.metadata[OPTION]
    return option


def _value(declared: Field[Any], value: object) -> object:
    kind = _type(declared)
    return kind(str(value)) if isinstance(kind, type) and issubclass(kind, StrEnum) else value


def _type(declared: Field[Any]) -> object:
    """Return the type of a field. For an optional field, return the type without None."""
    return next((each for each in get_args(declared.type) if each is not type(None)), declared.type)


def _click_option(declared: Field[Any], option: Option) -> click.Option:
    kind, flag = _type(declared), f"--{declared.name.replace('_', '-')}"
    value = declared.default.value if isinstance(declared.default, StrEnum) else declared.default
    default = {"required": True} if value is MISSING else {"default": value, "show_default": bool(value)}
    return click.Option(
        [f"{flag}/{option.off}" if option.off else flag],
        type=None if kind is bool else _click_type(kind, option),
        is_flag=kind is bool,
        metavar=option.metavar,
        help=option.help,
        **default,
    )


def _click_type(kind: object, option: Option) -> click.ParamType[Any] | type:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return click.Choice([each.value for each in kind])
    if kind is Path:
        return click.Path(path_type=Path) if option.read else Path
    if kind is int:
        return click.IntRange(option.least, option.most)
    return str

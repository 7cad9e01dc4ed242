"""The types of the catalog: a control of a standard, and a framework, which is a version of a standard."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Control:
    """One control (recommendation or requirement) of a framework.

    `title` says in mfa-kit's words what the control asks for. `rules` has the IDs of the rules that check the control.
    If there are rules, `gap` says which part of the control they do not check, or is "". Without rules, `gap` says why
    mfa-kit does not check the control. For a control of Security Hub, `standards` has the standards that contain it.
    """

    id: str
    title: str
    rules: tuple[str, ...] = ()
    gap: str = ""
    standards: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Framework:
    """One version of a standard.

    `id` is its name on the command line, and `short` the name before a control's ID. `source` says where the IDs come
    from, and `read` when they were read, as an ISO date. `scope` says which of the standard's controls are listed.
    """

    id: str
    short: str
    name: str
    version: str
    source: str
    read: str
    scope: str
    controls: tuple[Control, ...]

"""What the verbs of `mfa-kit policy` do: text out of a snapshot, and a verdict on people."""

from __future__ import annotations

import contextlib
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mfa_kit.cli import messages, options, output
from mfa_kit.core.errors import Lockout, UsageFault
from mfa_kit.policy import lint as linting
from mfa_kit.policy import lockout as trying
from mfa_kit.policy import onboard as starting
from mfa_kit.policy import texts
from mfa_kit.wiring import audit as kit

if TYPE_CHECKING:
    from mfa_kit.account.snapshot import Snapshot
    from mfa_kit.account.source import Account
    from mfa_kit.wiring.settings import Settings

LONGEST = 1 << 20
# IAM quotas: characters of a managed policy and of a group's inline ones, whitespace not counted.
MANAGED, INLINE = 6144, 5120


def show(
    settings: Settings, *, variant: str, first_sign_in: bool, user_paths: bool, own_names: bool, partition: str | None
) -> None:
    wish = texts.Wish(
        partition=kit.partition(settings, partition) or "aws",
        variant=texts.Variant(variant),
        first_sign_in=first_sign_in,
        user_paths=user_paths,
        own_names=own_names,
    )
    document, lines = texts.policy(wish)
    talk = messages.Talk()
    for line in (*lines, texts.first_sign_in(wish)):
        talk.note(f"{line.text}: {line.why}")
    click.echo(json.dumps(document, indent=2))


def read(file: Path) -> str:
    """Read a policy. Raise UsageFault for a file that is none."""
    try:
        with contextlib.nullcontext(sys.stdin) if str(file) == "-" else file.open(encoding="utf-8") as source:
            text = source.read(LONGEST + 1)
    except OSError as error:
        raise UsageFault(f"{file} cannot be read: {error.strerror}", "name a policy's file, or - for stdin") from None
    except UnicodeDecodeError:
        raise UsageFault(f"{file} is no IAM policy: it is not UTF-8", "mfa-kit policy show prints one") from None
    if len(text) > LONGEST:
        raise UsageFault(
            f"{file} is no IAM policy: it has more than {LONGEST >> 20} MiB", "mfa-kit policy show prints one"
        )
    linting.lint(text)
    return text


def lint(settings: Settings, *, policy_file: Path | None, on: str | None, file: Path | None, max_age: float) -> int:
    if policy_file is not None:
        partition = kit.partition(settings, None)
        holder = linting.Holder(on) if on else None
        found = [(str(policy_file), trap) for trap in linting.lint(read(policy_file), on=holder, partition=partition)]
        looked = 1
    else:
        with kit.snapshot(settings, file=file, max_age=max_age) as (taken, _):
            held = list(linting.held(taken))
        _unread(taken)
        looked = len(held)
        found = [
            (where, trap)
            for where, holder, text in held
            for trap in linting.lint(text, on=holder, partition=taken.partition)
        ]
    rows = [
        {"policy": where, "statement": trap.statement, "trap": trap.name, "what": trap.what, "instead": trap.instead}
        for where, trap in found
    ]
    output.many("policy-lint", rows, output=options.form(), empty=f"no trap; policies looked at: {looked}")
    return 1 if rows else 0


def _unread(snapshot: Snapshot) -> None:
    for why in trying.unread(snapshot):
        messages.Talk().note(f"not read: {why}")


def lockout(
    settings: Settings,
    *,
    document: Path | None,
    group: str | None,
    self_enroll: bool,
    everybody: bool,
    file: Path | None,
    max_age: float,
) -> None:
    text = read(document) if document else None
    with kit.snapshot(
        settings,
        file=file,
        max_age=max_age,
        passwords_of=trying.may_have_to_change,
        afresh=lambda one: group in one.user.groups,
    ) as (snapshot, account):
        tried = text or starting.force_mfa(snapshot.partition)
        fates = trying.lockout(snapshot, tried, group=group)
        compared = _compared(tried, account)
    talk = messages.Talk()
    _unread(snapshot)
    for line in compared:
        talk.note(line)
    dull = set() if everybody else {trying.Standing.FINE, trying.Standing.NO_WAY}
    rows = [
        {
            "user": one.user,
            "way": one.way,
            "standing": one.standing,
            "why": one.why,
            "first": one.first or None,
            **({} if options.form() == "table" else {"already": one.already}),
        }
        for one in fates
        if one.standing not in dull
    ]
    output.many("policy-lockout", rows, output=options.form(), empty="nobody would be locked out")
    counts = Counter(one.standing for one in fates)
    told = ", ".join(f"{standing}: {counts[standing]}" for standing in trying.Standing if counts[standing])
    talk.note(f"{len({one.user for one in fates})} users, {len(fates)} ways in; {told or 'none'}")
    _refuse(snapshot, fates, self_enroll=self_enroll)


def _compared(document: str, account: Account | None) -> list[str]:
    """Tell how IAM's simulator judges the policy, where it may be asked."""
    if account is None:
        return []
    compared = trying.compare(document, account)
    if compared.why_not:
        return [f"not compared with IAM's simulator: {compared.why_not}"]
    if not compared.differing:
        return ["IAM's simulator judges the policy alike"]
    return [f"IAM's simulator judges otherwise: {each}" for each in compared.differing]


def _refuse(snapshot: Snapshot, fates: list[trying.Fate], *, self_enroll: bool) -> None:
    """Raise Lockout while anybody would be locked out, or while that cannot be ruled out."""
    shut = {one.user for one in fates if one.shut and not (self_enroll and one.standing is trying.Standing.ENROLLS)}
    if shut:
        error = Lockout(
            f"{len(shut)} of {len({one.user for one in fates})} users would be locked out, or may be",
            "do what stands under FIRST for each of them, and run this again",
        )
        if not trying.helpers(fates, snapshot):
            error.add_note("no administrator among the users would be left who could help them")
        raise error
    if why := trying.unread(snapshot):
        raise Lockout(f"whether anybody would be locked out cannot be told without {why[0]}", "see that it can be read")


def onboard(
    settings: Settings, *, user: str | None, group: str | None, admin: str, file: Path | None, max_age: float
) -> None:
    if (user is None) != (group is None):
        raise UsageFault("a colleague needs a name and a group", "give both: --user NAME --group GROUP")
    with kit.snapshot(settings, file=file, max_age=max_age) as (snapshot, _):
        if user is not None and group is not None:
            steps = starting.colleague(snapshot, user, group)
        else:
            steps = starting.start(snapshot, admin=admin)
    _unread(snapshot)
    if options.form() == "table":
        click.echo(messages.printable(starting.script(steps)))
        return
    rows = [
        {"step": number, "what": step.what, "why": step.why, "state": step.state, "commands": step.commands}
        for number, step in enumerate(steps, 1)
    ]
    output.many("policy-onboard", rows, output=options.form(), empty="")

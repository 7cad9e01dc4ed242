"""What the verbs of `mfa-kit rollout` do; the order of things is rollout's."""

import os
import sys
import threading
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import click

from mfa_kit.cli import options, terminal
from mfa_kit.cli import output as report
from mfa_kit.cli.deeds import rollout_page
from mfa_kit.cli.deeds.tally import Tally, ended, row, tallied, write_results
from mfa_kit.cli.messages import Talk
from mfa_kit.cli.shutdown import orderly
from mfa_kit.core.errors import IntegrityFault, UsageFault
from mfa_kit.core.models import Entry
from mfa_kit.core.otp import Created
from mfa_kit.enrollment.enroll import BackupAlone
from mfa_kit.enrollment.ports import Vault
from mfa_kit.rollout import apply as rollout
from mfa_kit.rollout import plan as plans
from mfa_kit.rollout import roster
from mfa_kit.rollout.apply import End, Result, Way
from mfa_kit.rollout.plan import Action, Plan, Snapshot, Step
from mfa_kit.rollout.roster import Failure, Row, Selection
from mfa_kit.wiring import backup as backups
from mfa_kit.wiring import rollout as kit
from mfa_kit.wiring.desk import run_id

# Seconds: IAM makes no new credential report while one is younger.
REPORT_AGE = 4 * 3600
# Of so many rows that wait for an answer, one more is sealed meanwhile.
SEALING = 4
# What is shown of a long list on one line.
SHOWN = 20


def plan(
    *,
    roster: Path | None,
    out: Path,
    groups: Sequence[str],
    path_prefix: str | None,
    tags: Sequence[str],
    without_mfa: bool,
    only: str | None,
    skip_bad: Path | None,
    trust_report: bool,
    workers: int,
) -> None:
    """Write a plan, and print its summary."""
    common = options.common()
    _apart(roster, out, skip_bad)
    rows = _rows(roster, skip_bad) if roster else None
    selection = Selection(
        groups=tuple(groups),
        path_prefix=_prefix(path_prefix or "/"),
        tags=tuple(map(_tag, tags)),
        without_mfa=without_mfa,
    )
    talk = Talk()
    vault, _ = kit.vault((), (), None)
    with kit.rig(common, vault=vault, workers=workers, talk=talk) as rig:
        credentials = rig.account.report(max_age=REPORT_AGE) if without_mfa or trust_report else None
        known = credentials.users if credentials else {}
        passwords = {name for name, each in known.items() if each.password}
        people = list(rig.people.users(details=rows is None and bool(groups or tags)))
        snapshot = Snapshot.of(people, rig.account.virtual())
        if rows is None:
            rows = [Row(user=person.name) for person in people if selection.fits(person, passwords)]
            if not rows:
                talk.note("no user of the account fits this selection")
        if only:
            rows = _only(rows, only)
        stop = threading.Event()

        def look(users: Sequence[str]) -> Mapping[str, tuple[str, ...]]:
            if trust_report:
                has = {name for name, each in known.items() if each.mfa}
                return {user: ("a device by the credential report",) for user in users if user in has}
            return rig.look(users, workers=workers, stop=stop)

        age = rig.desk.inventory.now() - credentials.made if trust_report and credentials else None
        made = plans.planned(rows, snapshot, look=look, caller=rig.caller, desk=rig.desk, report=age)
        text = plans.text(made)
        if not common.dry_run:
            kit.write(out, text)
        for step in made.steps:
            if step.action is Action.BLOCKED:
                talk.note(f"blocked: {step.user}: {step.reason}")
            if step.key_before:
                talk.note(f"another public key than before: {step.user}: {_key(step.row)}, before {step.key_before}")
        _show_plan(made, out, kit.sha256(text), output=options.form())


def _apart(*files: Path | None) -> None:
    """Raise UsageFault where one file would be written in the place of another."""
    named = [file for file in files if file]
    places = Counter(map(os.path.realpath, named))
    if same := next((file for file in named if places[os.path.realpath(file)] > 1), None):
        raise UsageFault(f"{same} is named twice, and would be written over", "give each file a name of its own")


def _rows(file: Path, skip_bad: Path | None) -> list[Row]:
    """Return the rows of a roster. Raise UsageFault with everything that is wrong, unless it is skipped."""
    found = kit.roster(file)
    if found.wrong and skip_bad:
        what = f"faults: {len(found.wrong)}; their rows are left out"
        if not options.common().dry_run:
            kit.write(skip_bad, roster.bad_rows(found.wrong))
            what += f", and are in {skip_bad} to be mended"
        Talk().note(what)
    elif found.wrong:
        error = UsageFault(
            f"{file} cannot be taken as it is; cells that are wrong: {len(found.wrong)}",
            "mend them, or leave their rows out: --skip-bad FILE",
        )
        for wrong in found.wrong:
            error.add_note(str(wrong))
        raise error
    return list(found.rows)


def _prefix(text: str) -> str:
    if not text.startswith("/"):
        raise UsageFault(f"{text!a} is no path of IAM's", "begin it with a slash: --path-prefix /team/")
    return text


def _tag(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise UsageFault(f"{text!a} is no tag", "write --tag K=V")
    return key, value


def _only(rows: Sequence[Row], names: str) -> list[Row]:
    return roster.only(rows, [name.strip() for name in names.split(",") if name.strip()])


def _key(row: Row) -> str:
    return roster.fingerprint(row.recipient) if row.recipient else ""


def _show_plan(made: Plan, out: Path, digest: str, *, output: str) -> None:
    shut_out, keys = made.shut_out, [step for step in made.steps if step.row.recipient]
    whole = output in {"json", "jsonl"}
    report.one(
        "rollout-plan-summary",
        {
            "plan": str(out),
            "sha256": digest,
            "account": made.account,
            **made.counts,
            "could_not_open_his_own_copy": shut_out if whole else _shortened(shut_out),
            "only_he_could_open_it": None if whole else f"{len(keys)}, where apply has no -r" if keys else None,
            "keys_changed": [step.user for step in keys if step.key_before] or None,
            "report_age_s": None if made.report is None else round(made.report),
            "calls": made.calls,
            "expected_s": round(made.seconds),
        },
        output=output,
    )


def _shortened(names: Sequence[str]) -> str | None:
    if not names:
        return None
    return f"{len(names)}: {', '.join(names[:SHOWN])}{', …' if len(names) > SHOWN else ''}"


def _talk() -> Talk:
    """Return a line that is redrawn where somebody looks at it, else lines."""
    common = options.common()
    return Talk() if common.plain or not sys.stderr.isatty() else terminal.Live()


def _way(rig: kit.Rig, *, workers: int, max_failures: int | None = None) -> Way:
    return Way(
        virtual=rig.account.virtual,
        carrier=lambda: BackupAlone(rig.desk.inventory.now),
        stop=threading.Event(),
        workers=workers + workers // SEALING,
        max_failures=max_failures,
    )


def apply(
    *,
    plan: Path,
    to: Sequence[str],
    to_files: Sequence[Path],
    backup_dir: Path | None,
    staged: bool,
    accept_lockout: bool,
    max_failures: int | None,
    expected: str | None,
    results: Path | None,
    workers: int,
) -> int:
    """Make a plan true; write the results, whatever ends it. Return the exit code."""
    common = options.common()
    made, digest = kit.plan(plan, expected=expected)
    vault, sealed = kit.vault(to, to_files, backup_dir)
    talk = _talk()
    with kit.rig(common, vault=vault, workers=workers, talk=talk) as rig:
        rollout.check(made, caller=rig.caller, staged=staged, accept_lockout=accept_lockout, sealed=sealed)
        way = _way(rig, workers=workers, max_failures=max_failures)
        tally = tallied(rig, "rollout-apply", talk, len(made.steps), stop=way.stop)
        if common.dry_run:
            for result in rollout.standing(made, holders=way.held(), look=lambda _: {}, failures={}, desk=rig.desk):
                tally.take(result)
            tally.show(run=None)
            return 0
        check_folder(vault, made.steps, sealed=sealed)
        folder = kit.results(results, plan)
        run, failures = run_id(rig.desk.inventory), rig.failures(digest)
        talk.note(f"run {run}")
        try:
            with orderly(way.stop, rig.pace.stop, break_off=rig.pace.break_off) as asked:
                for result in rollout.apply(made, desk=rig.desk, run=run, way=way, staged=staged):
                    if result.outcome is End.FAILED:
                        failure = Failure(user=result.user, cause=result.cause, reason=result.reason)
                        failures.note(failure, at=rig.desk.inventory.now())
                    tally.take(result)
        finally:
            _keep_broken_off(rig, run, tally)
            # Those of an earlier run say more than none at all.
            if told := bool(tally.results) or not (folder / "results.csv").exists():
                write_results(made, tally.by_user, folder, run=run)
            tally.show(run=run, results=str(folder) if told else None)
        return ended(tally, asked=asked.is_set())


def check_folder(vault: Vault, steps: Sequence[Step], *, sealed: bool) -> None:
    """Raise UsageFault where backups could not be written, if only users' own; `sealed` as in `rollout.check`."""
    if sealed or any(step.row.recipient for step in steps):
        vault.check()


def _keep_broken_off(rig: kit.Rig, run: str, tally: Tally) -> None:
    """Take what was begun and has no result, as after a second Ctrl-C: its users may be enrolled."""
    if not tally.left:
        return
    told = tally.by_user
    with suppress(IntegrityFault):  # the ledger's, that may have ended the run
        for entry in rig.desk.journal.made(rig.caller.account):
            if entry.run == run and entry.intent.user not in told:
                tally.keep(Result.stands(entry, End.HALF_MADE, "broken off; see mfa-kit rollout status"))


def activate(
    *, groups: Sequence[str], only: str | None, keys: Sequence[Path], backup_dir: Path | None, workers: int
) -> int:
    """Enable what is staged. Return the exit code."""
    common = options.common()
    vault, _ = kit.vault((), (), backup_dir)
    talk = _talk()
    with kit.rig(common, vault=vault, workers=workers, talk=talk) as rig:
        opened = backups.opener(keys, rig.ledger.called)
        entries = rollout.staged(account=rig.caller.account, users=_members(rig, groups, only), desk=rig.desk)
        if missing := _names(only) - {entry.intent.user.lower() for entry in entries}:
            talk.note(f"nothing is staged here for {', '.join(sorted(missing))}")
        elif not entries:
            talk.note("nothing is staged here for who is meant")
        way = _way(rig, workers=workers)
        tally = tallied(rig, "rollout-activate", talk, len(entries), stop=way.stop)
        if common.dry_run:
            for entry in entries:
                tally.take(Result.stands(entry, End.STAGED))
            tally.show()
            return 0

        def created(entry: Entry) -> Created:
            return opened(Path(vault.find(entry) or entry.backup or ""))

        try:
            with orderly(way.stop, rig.pace.stop, break_off=rig.pace.break_off) as asked:
                for result in rollout.activate(entries, opened=created, desk=rig.desk, way=way):
                    tally.take(result)
        finally:
            tally.show()
        return ended(tally, asked=asked.is_set())


def _members(rig: kit.Rig, groups: Sequence[str], only: str | None) -> set[str] | None:
    """Return who is meant, None for everybody."""
    if not groups and not only:
        return None
    selection = Selection(groups=tuple(groups))
    people = rig.people.users(details=bool(groups))
    names = {person.name.lower() for person in people if selection.fits(person, set())}
    return names & _names(only) if only else names


def _names(only: str | None) -> set[str]:
    return {name.strip().lower() for name in (only or "").split(",")} - {""}


def status(*, plan: Path, backup_dir: Path | None, workers: int) -> None:
    """Print how it stands with each user."""
    common = options.common()
    made, digest = kit.plan(plan, expected=None)
    vault, _ = kit.vault((), (), backup_dir)
    with kit.rig(common, vault=vault, workers=workers, talk=Talk()) as rig:
        way = _way(rig, workers=workers)
        found = rollout.standing(
            made,
            holders=way.held(),
            look=lambda users: rig.look(users, workers=workers, stop=threading.Event()),
            failures=rig.failures(digest).all(),
            desk=rig.desk,
        )
        if options.form() == "html":
            click.echo(rollout_page.html(made, found, at=rig.desk.inventory.now()), nl=False)
            return
        report.many("rollout-status", [row(each) for each in found], output=options.form(), empty="the plan is empty")


def undo(*, run: str, leave_without_mfa: bool, backup_dir: Path | None, workers: int) -> int:
    """Take away what a run made. Return the exit code."""
    common = options.common()
    vault, _ = kit.vault((), (), backup_dir)
    talk = _talk()
    with kit.rig(common, vault=vault, workers=workers, talk=talk) as rig:
        entries = rollout.of_run(run, account=rig.caller.account, desk=rig.desk)
        way = _way(rig, workers=workers)
        tally = tallied(rig, "rollout-undo", talk, len(entries), stop=way.stop)
        what = f"{len(entries)} devices of run {run} would go"
        if common.dry_run:
            talk.note(what)
            for entry in entries:
                tally.take(Result.stands(entry))
            tally.show()
            return 0
        if not common.yes:
            common.interaction.confirm(what, typed=str(len(entries)))
        try:
            with orderly(way.stop, rig.pace.stop, break_off=rig.pace.break_off) as asked:
                for result in rollout.undo(entries, leave_without_mfa=leave_without_mfa, desk=rig.desk, way=way):
                    tally.take(result)
        finally:
            tally.show()
        return ended(tally, asked=asked.is_set())

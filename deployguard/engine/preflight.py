"""The checks before a run: all of them, whatever the earlier ones said, changing nothing."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deployguard.engine.backed import backed
from deployguard.engine.plan import Plan, PlannedStep
from deployguard.engine.promotion import promotion
from deployguard.engine.rehearsed import rehearsed
from deployguard.engine.rotation import in_use_since
from deployguard.engine.target import target_of, variables_of, working_folder
from deployguard.errors import DeployguardError, Interrupted, StepTimedOut
from deployguard.process import Result, base_environment, run
from deployguard.runbook.quantities import spell
from deployguard.secret import Secret
from deployguard.steps.base import Context, Outcome, Progress, Target

if TYPE_CHECKING:
    from deployguard.journal.state import RunState

_DAY = 86400.0


@dataclass(frozen=True)
class Verdict:
    """What one check said."""

    id: str
    uses: str
    status: str
    summary: str
    hint: str = ""
    line: int = 1
    evidence: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def run_checks(
    plan: Plan,
    target: Target,
    runs: "Iterable[RunState]",
    progressed: Callable[[str, Progress], None] = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Iterator[Verdict]:
    """Verdicts one by one, the environment's own requirements first.

    Raises:
        Interrupted: `should_stop` said so while a check's command was running.
    """
    promoted, every = plan.target.requires.promoted_from, plan.runbook.spec.encryption.rotation.every
    runs = list(runs) if promoted is not None or every is not None else ()
    if promoted is not None:
        line = plan.runbook.line(("environments", plan.environment, "requires", "promoted_from"))
        said = promotion(plan, promoted, plan.target.requires.within, runs, target.clock.now())
        yield Verdict("promotion", "promotion", said.status, said.summary, said.hint, line, said.evidence)
    for said in rehearsed(plan):
        line = plan.runbook.line(("environments", plan.environment, "requires"))
        yield Verdict("rehearsal", "rehearsal", said.status, said.summary, said.hint, line, said.evidence)
    if every is not None:
        yield from _rotation(plan, target, runs, every)
    for planned, said in backed(plan, target):
        name = f"backup before {planned.spec.id}"
        yield Verdict(name, "backup", said.status, said.summary, said.hint, planned.line, said.evidence)
    for planned in plan.checks:
        yield _run_check(planned, plan, target, progressed, should_stop)


def _run_check(
    planned: PlannedStep,
    plan: Plan,
    target: Target,
    progressed: Callable[[str, Progress], None],
    should_stop: Callable[[], bool],
) -> Verdict:
    begun = time.monotonic()
    try:
        context = read_only_context(planned, plan, target, progressed, should_stop)
        outcome = planned.step().execute(context)
    except Interrupted:
        raise
    except DeployguardError as error:
        outcome = Outcome(target.masker.mask_text(error.message), status="fail", hint=error.hint)
    return Verdict(
        planned.id, planned.uses, outcome.status, outcome.summary, outcome.hint, planned.line, outcome.evidence,
        round(time.monotonic() - begun, 3),
    )  # fmt: skip


def read_only_context(
    planned: PlannedStep,
    plan: Plan,
    target: Target,
    progressed: Callable[[str, Progress], None] = lambda *_: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Context:
    """A context without lease and folder: for checks and previews, which write nothing."""
    names = {**plan.names, "matrix": planned.matrix}
    env = variables_of(plan, target, planned, names)
    timeout = planned.spec.timeout if planned.spec.timeout is not None else 600.0

    place = working_folder(target.directory, planned.spec.cwd, names)

    def command(
        argv: list[str],
        *,
        cwd: Path,
        env: Mapping[str, str | Secret],
        on_output: Callable[[bytes], None] | None = None,
    ) -> Result:
        # Python would leave its bytecode in a tree that must stay as it is
        quiet = {**base_environment(), "PYTHONDONTWRITEBYTECODE": "1", **env}
        result = run(
            argv,
            cwd=place if cwd == target.directory else cwd,
            env=quiet,
            timeout=timeout,
            masker=target.masker,
            on_output=on_output,
            should_stop=should_stop,
        )
        if result.stopped:
            raise Interrupted(f"{planned.id} was ended on request", hint="Run it again to have all checks made.")
        if result.timed_out:
            raise StepTimedOut(f"{planned.id} was not done in {spell(timeout)}", tail=result.tail)
        return result

    return Context(
        target=target_of(target, planned, env), run="preflight", step=planned.id, fence=0,
        pulse=lambda progress: progressed(planned.id, progress), run_command=command, env=env,
    )  # fmt: skip


def _rotation(plan: Plan, target: Target, runs: "Iterable[RunState]", every: float) -> Iterator[Verdict]:
    """When the key is to be changed. A key that is not there is `key.check`'s to report."""
    line = plan.runbook.line(("encryption", "rotation", "every"))
    try:
        newest = target.keyring.fingerprints[0]
    except DeployguardError:
        return
    name, since = f"{target.keys[0]} {newest}", in_use_since(runs, plan.environment, newest)
    if since is None:
        first = f"it may be used for {every / _DAY:.0f} days from the first one"
        summary = f"{name} is on record in no run of {plan.environment}; {first}"
        yield Verdict("rotation", "rotation", "pass", summary, line=line)
        return
    now, due = target.clock.now(), since.due(every)
    days = abs(due - now).days
    evidence = {"fingerprint": newest, "since": f"{since.at:%Y-%m-%d}", "run": since.run, "due": f"{due:%Y-%m-%d}"}
    known = f"{name} is in use since {since.at:%Y-%m-%d} (run {since.run})"
    if now < due:
        summary = f"{known}; it is due for rotation on {due:%Y-%m-%d}, in {days} days"
        yield Verdict("rotation", "rotation", "pass", summary, line=line, evidence=evidence)
        return
    hint = f"Make a new key, and run 'deployguard keys rotate --env {plan.environment}'."
    summary = f"{known}; it was due for rotation on {due:%Y-%m-%d}, {days} days ago"
    yield Verdict("rotation", "rotation", "warn", summary, hint, line, evidence)

"""`deployguard approve` and `deployguard reject`: a person answers a gate that waits."""

from pathlib import Path
from typing import Annotated

import typer

from deployguard.cli.options import RUNBOOK, Json, RunbookFile, Yes

Run = Annotated[str, typer.Argument(help="The run's id or its beginning.", show_default=False)]
Gate = Annotated[
    str | None, typer.Argument(help="The gate's step id; may be left out where only one waits.", show_default=False)
]
Why = Annotated[str, typer.Option("--why", help="The reason, for the record.")]


def approve(
    run: Run, gate: Gate = None, why: Why = "", runbook: RunbookFile = RUNBOOK, *, yes: Yes = False, json: Json = False
) -> None:
    """Approve a run that waits: for exactly its plan, its commit and its database.

    Example: deployguard approve production-20260102 --why "seen in staging"
    """
    _answer(runbook, run, gate, "approve", why, yes=yes, as_json=json)


def reject(
    run: Run, gate: Gate = None, why: Why = "", runbook: RunbookFile = RUNBOOK, *, yes: Yes = False, json: Json = False
) -> None:
    """Say no to a run that waits; when it is resumed, what it has done is undone.

    Example: deployguard reject production-20260102 --why "not on a Friday"
    """
    _answer(runbook, run, gate, "reject", why, yes=yes, as_json=json)


def _answer(file: Path, named: str, gate: str | None, verdict: str, why: str, *, yes: bool, as_json: bool) -> None:
    from deployguard.cli.console import Console
    from deployguard.cli.project import existing_journal, pick_run
    from deployguard.cli.running import ask_person
    from deployguard.engine.deploy import UNFINISHED, who
    from deployguard.errors import UsageError
    from deployguard.journal.events import AnswerGiven
    from deployguard.journal.state import fold

    console = Console(as_json=as_json)
    with existing_journal(file) as (_, journal):
        state = pick_run(fold(journal.records()), named)
        steps = state.steps.values() if state.state in UNFINISHED else ()
        waiting = [s.id for s in steps if s.state == "waiting" and s.uses == "gate.approval"]
        step = gate or (waiting[0] if len(waiting) == 1 else None)
        if step is None or step not in waiting:
            shown = f"these gates wait: {', '.join(waiting)}" if waiting else "no gate waits for an answer"
            raise UsageError(
                f"run {state.id}: {shown}" + (f", {gate} does not" if gate else ""),
                hint=f"'deployguard show {state.id}' shows what the run waits for.",
            )
        started = state.started
        database = (started.target or {}).get("database", "no database")
        console.line(f"{verdict} {step} of run {state.id}: {started.name} → {started.environment}")
        console.line(f"  plan {started.plan_digest[:12]}, commit {started.commit or 'none'}, {database}")
        ask_person(console, f"{verdict.capitalize()} as {who()}?", yes=yes)
        journal.append(
            state.id,
            AnswerGiven(
                step=step, verdict=verdict, who=who(), why=why, plan_digest=started.plan_digest,
                commit=started.commit, target=started.target,
            ),
        )  # fmt: skip
    if as_json:
        console.document({"run": state.id, "gate": step, "verdict": verdict, "who": who(), "why": why})
    console.line(f"recorded; 'deployguard deploy --resume --env {state.environment}' goes on")

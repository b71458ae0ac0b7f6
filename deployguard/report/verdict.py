"""The first paragraph: what happened, and what to do next, for every state a run can be in."""

from collections.abc import Iterator, Sequence
from shlex import quote
from typing import Any

from deployguard.journal import events as e
from deployguard.report.history import History
from deployguard.report.model import Advice, ColumnChange, Tone, Verdict
from deployguard.report.prose import Prose, amount, between, clock, say
from deployguard.runbook.quantities import spell

_WORDS: dict[str, tuple[str, Tone]] = {
    "succeeded": ("Succeeded", "good"),
    "rolled_back": ("Rolled back", "calm"),
    "rollback_incomplete": ("Rollback incomplete: a person is needed", "bad"),
    "failed": ("Failed", "bad"),
    "refused": ("Refused: nothing was changed", "calm"),
    "waiting": ("Waiting", "wait"),
    "interrupted": ("Interrupted", "wait"),
    "aborted": ("Aborted", "bad"),
    "running": ("No end on record", "wait"),
}


def preflight_only(history: History) -> bool:
    """Whether the run was never more than its checks."""
    return history.state.state == "succeeded" and history.state.fence == 0 and not history.attempts


def verdict(history: History, changes: Sequence[ColumnChange]) -> Verdict:
    """One word, and the sentences under it."""
    word, tone = _WORDS[history.state.state]
    if preflight_only(history):
        bad = any(c.status == "fail" for c in history.state.checks)
        return Verdict("Checks failed" if bad else "Ready", "bad" if bad else "good", tuple(_sentences(history)))
    return Verdict(word, tone, (*_sentences(history), *_effect(history, changes)))


def _effect(history: History, changes: Sequence[ColumnChange]) -> Iterator[Prose]:
    changed = sum(c.changed or 0 for c in changes)
    if history.state.state != "succeeded" or not changed:
        return
    clean = all(c.plaintext[1] == 0 for c in changes)
    end = (
        "every value was read again afterwards, and none is plaintext"
        if clean
        else "that none is plaintext now is not proven"
    )
    yield say(f"{amount(changed, 'value')} in {amount(len(changes), 'column')} were encrypted; {end}.")


def _sentences(history: History) -> Iterator[Prose]:
    state = history.state
    if preflight_only(history):
        yield say(
            f"{amount(len(state.checks), 'check')} of {{}} in {{}}; nothing was changed.",
            state.started.name,
            state.environment,
        )
    else:
        yield from _of_state(history)
    yield _who_and_when(history)
    if state.started.target:
        yield say("Target: {}.", target(state.started.target))


def _of_state(history: History) -> Iterator[Prose]:
    state = history.state
    name, where = state.started.name, state.environment
    match state.state:
        case "succeeded":
            yield say(f"{{}} is done in {{}}: {_tally(history)}.", name, where)
        case "rolled_back":
            yield say("{} was begun in {} and taken back: every step that could be undone is undone.", name, where)
            yield from _because(state.reason)
        case "rollback_incomplete":
            yield say(
                "{} in {} was to be taken back, and not every step could be undone. What is left stands first.",
                name,
                where,
            )
            yield from _because(state.reason)
        case "failed":
            yield say(f"{{}} in {{}} stopped: {_tally(history)}. What was done before is still in place.", name, where)
            yield from _because(state.reason)
        case "refused":
            yield say("{} did not start in {}.", name, where)
            yield from _because(state.reason)
        case "waiting":
            yield say(f"{{}} in {{}} waits, and no process is needed meanwhile: {_tally(history)}.", name, where)
            for waiting in state.waiting_for:
                until = f" Not before {clock(waiting.until)}." if waiting.until else ""
                yield (*say("{}: ", waiting.step), waiting.reason.rstrip("."), *say("." + until))
        case "aborted":
            yield say(f"{{}} in {{}} was ended before it was done: {_tally(history)}.", name, where)
            yield from _because(state.reason)
            yield from _left_in_place(state.in_place)
        case "interrupted":
            yield say(f"{{}} in {{}} was stopped on the way and can be resumed: {_tally(history)}.", name, where)
            yield from _because(state.reason)
        case _:
            yield say(f"{{}} in {{}} is running, or its process died: {_tally(history)}.", name, where)


def _left_in_place(steps: Sequence[str]) -> Iterator[Prose]:
    if steps:
        yield say(f"What it had done is still in place: {', '.join(['{}'] * len(steps))}.", *steps)
    else:
        yield say("Nothing that it had done is in place.")


def _because(reason: str) -> Iterator[Prose]:
    if reason:
        yield (*say("Reason: "), reason.rstrip("."), *say("."))


def _tally(history: History) -> str:
    counts: dict[str, int] = {}
    for step in history.state.steps.values():
        counts[step.state] = counts.get(step.state, 0) + 1
    if counts and counts.get("succeeded") == len(history.state.steps):
        return f"all {amount(len(history.state.steps), 'step')} succeeded"
    words = [f"{count:,} {_STATE.get(state, state)}" for state, count in counts.items()]
    return f"{amount(len(history.state.steps), 'step')}, " + ", ".join(words) if words else "no steps"


_STATE = {"pending": "not begun", "compensating": "being undone", "compensated": "undone", "stuck": "not undone"}


def _who_and_when(history: History) -> Prose:
    started = history.state.started
    took = spell(between(history.begin, history.end))
    ended = f"ended {clock(history.end)}" if history.state.ended else f"last heard of {clock(history.end)}"
    return say(f"Begun by {{}} on {{}} at {clock(history.begin)}, {ended}, {took} in all.", started.actor, started.host)


def target(identity: dict[str, Any]) -> str:
    """A database's identity in one line, product first."""
    known = [f"{identity.get('engine', '')} {identity.get('version', '')}".strip()]
    known += [f"{word} {identity[word]}" for word in ("database", "host") if identity.get(word)]
    known += [f"server id {identity['server_id']}"] if identity.get("server_id") else []
    return ", ".join(part for part in known if part)


def departures(history: History) -> Iterator[Prose]:
    """Where the run was not what the runbook and its plan say: said first, and loudly."""
    for record in history.of(e.DecisionTaken, e.RunResumed):
        match record.event:
            case e.DecisionTaken(decision="override" | "skip" | "done" as decision) as taken:
                said = {"override": "overrode", "skip": "skipped", "done": "declared done without proof"}[decision]
                why = f"Reason given: {taken.why}" if taken.why else "No reason was given."
                yield (*say(f"{{}} {said} {{}} at {clock(record.at)}. ", taken.who, taken.step), why)
            case e.RunResumed(accepted=accepted, actor=actor) if accepted:
                other = "plan than was begun" if "plan" in accepted else "commit than the run had brought"
                yield say(f"{{}} resumed with another {other}, at {clock(record.at)}.", actor)
    for found in history.evidence("backup"):
        if found.get("without_backup"):
            before = say("{} rewrites rows without a backup that was restored. ", found.get("step"))
            yield (*before, f"Reason given: {found['without_backup']}")
    for found in history.evidence("rehearsal"):
        if found.get("without_rehearsal"):
            before = say("{} rewrites rows that nobody has tried it on. ", ", ".join(found["steps"]))
            yield (*before, f"Reason given: {found['without_rehearsal']}")
    selection = dict(history.state.started.settings.get("selection") or {})
    why = selection.pop("why", "")
    for words, steps in selection.items():
        if steps:
            left_out = say("Not the whole runbook was run: {}.", f"--{words} {_joined(steps)}")
            yield (*left_out, *([f" Reason given: {why}"] if why else []))


def _joined(value: object) -> str:
    return " ".join(str(v) for v in value) if isinstance(value, list) else str(value)


def advice(history: History) -> Iterator[Advice]:  # noqa: C901 - one arm for each state, flat on purpose
    """What to do next."""
    state = history.state
    resume = f"deployguard deploy --resume --env {quote(state.environment)}"
    undo = history.undo_command
    if preflight_only(history):
        yield Advice(say("See what a deployment would do:"), f"deployguard plan --env {quote(state.environment)}")
        return
    match state.state:
        case "succeeded":
            yield Advice(say("Work through the checklist at the end of this report."))
            yield Advice(
                say("Look at every row again, at any time:"),
                f"deployguard data verify --env {quote(state.environment)}",
            )
            yield Advice(say("Take it back, if it must be:"), undo)
        case "rolled_back":
            yield from _mend(history)
            yield Advice(say("Then begin again:"), f"deployguard deploy --env {quote(state.environment)}")
        case "aborted":
            if state.in_place:
                yield Advice(say("Take back what it had done, if it must be:"), undo)
            yield Advice(say("Begin again:"), f"deployguard deploy --env {quote(state.environment)}")
        case "refused":
            yield from _mend(history)
            yield Advice(say("Then ask again:"), f"deployguard preflight --env {quote(state.environment)}")
        case "rollback_incomplete":
            yield Advice(say("Do what is listed as left, then finish the rollback:"), undo)
        case "running" | "interrupted" if state.rolling_back:
            yield Advice(say("The rollback has not ended. If its process died, go on with it:"), undo)
        case "failed":
            yield from _mend(history)
            yield Advice(say("Then go on where it stopped:"), resume)
            yield Advice(say("Or take back what was done:"), undo)
        case "running":
            yield Advice(say("If the process is still there, let it work. If it died, go on where it stopped:"), resume)
            yield Advice(say("Or take back what was done:"), undo)
        case _:
            yield Advice(say("Go on where it stopped:"), resume)
            yield Advice(say("Or take back what was done:"), undo)


def _mend(history: History) -> Iterator[Advice]:
    """Hints of what went wrong."""
    for check in history.state.checks:
        if check.status == "fail":
            yield Advice((*say("{}: ", check.check), check.hint or check.summary))
    for step, tried in history.attempts.items():
        failed = [a for a in tried if a.kind == "step" and a.state == "failed"]
        if failed and history.state.steps[step].state not in {"succeeded", "skipped"}:
            yield Advice((*say("{}: ", step), failed[-1].hint or failed[-1].summary))

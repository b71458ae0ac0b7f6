"""What each condition of a watch is called in its record, and what is on record of each."""

from collections import Counter
from collections.abc import Mapping, Sequence

from deployguard.journal.state import Seen
from deployguard.masking import Masker
from deployguard.steps.conditions import OneCondition
from deployguard.visible import visible

_LONGEST = 200
"""Characters of a name: a whole shell script would drown the report."""


def names_of(conditions: Sequence[OneCondition], masker: Masker) -> tuple[str, ...]:
    """A name for each, unlike all others: its own, or what it looks at, with a number where that is not enough.

    The same for the same conditions in the same order, so that a later process finds its own record.
    """
    wanted = [c.name or _line(masker.mask_text(c.condition().name())) for c in conditions]
    often, taken, names = Counter(wanted), {c.name for c in conditions if c.name}, list[str]()
    for text, condition in zip(wanted, conditions, strict=True):
        name, number = text, 0
        # of several alike all are numbered: in a former journal the plain name means the last of them
        while condition.name is None and (name in taken or (often[text] > 1 and not number)):
            number += 1
            name = f"{text} ({number})"
        taken.add(name)
        names.append(name)
    return tuple(names)


def on_record(conditions: Sequence[OneCondition], names: Sequence[str], seen: Mapping[str, Seen]) -> tuple[Seen, ...]:
    """What was seen of each condition so far; of one that is new, nothing.

    In a journal from before names were unique, what is recorded under one that several share is
    of the last of them: the others were not looked at.
    """
    former = {c.condition().former_name(): n for c, n in zip(conditions, names, strict=True)}
    heirs = {heir: seen[name] for name, heir in former.items() if name in seen and name not in names}
    return tuple(_joined(heirs[n], seen.get(n, Seen())) if n in heirs else seen.get(n, Seen()) for n in names)


def _joined(before: Seen, since: Seen) -> Seen:
    never_good = len(since.failed) == len(since.looked)
    return Seen(
        since.in_a_row + (before.in_a_row if never_good else 0), since.worst or before.worst,
        since.cursor if since.looked else before.cursor, before.looked + since.looked, before.failed + since.failed,
    )  # fmt: skip


def _line(text: str) -> str:
    line = " ".join(visible(text).split())
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"

"""`plaintext.copies`: where else what is to be encrypted stands in plain."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from deployguard.errors import Refused
from deployguard.keys.sealer import Sealers
from deployguard.rows.copies import Copy, Look, Source, Unlooked
from deployguard.rows.copies_in_files import FileSearch
from deployguard.rows.places import Places, places_of, session_texts
from deployguard.rows.sealers import sealing
from deployguard.runbook.quantities import Duration
from deployguard.steps.base import Check, Context, Outcome, Target
from deployguard.steps.column_keys import means_of
from deployguard.steps.encryption import chosen_columns, no_columns, opened, pulse_of
from deployguard.steps.words import SHOWN, ModelField, Reason, some_of

_COLUMNS = 3
_HINT = (
    "Encrypt these places too, or empty them: what is left there undoes the encryption. Where one may stay, "
    "say so under allow: with its reason."
)


class AllowedCopy(BaseModel):
    """A place that may stay, or need not be looked at."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    place: str
    """table.column or folder/file, as the report names it; `*` stands for any characters."""
    reason: Reason
    """Why it may, in words; the report repeats them."""

    def covers(self, place: str) -> bool:
        """Whether this is the place."""
        return fnmatchcase(place, self.place)


class PlaintextCopies(Check):
    """Look for the values of the encrypted columns, or of those that are to be, in other places.

    Every other text column is looked through: history and audit tables, the admin's log, search
    columns and indexes, Django's sessions (decoded by the application itself) and its database
    cache; and the files of the media folder. Works before the encryption and after it.

    Only values that would hardly be written twice by chance count: six letters and digits or
    more (eight, where all are digits), no date, in at most three rows of their own column. Three
    different ones make a copy, fewer are a warning at most. Single words of letters, which may
    be anybody's, count where they stand alone and are three; in fewer than half of the rows they
    are a warning at most. All are compared by digests under a key of this one search: nothing
    that was read is logged or kept.
    """

    uses: ClassVar[str] = "plaintext.copies"
    example: ClassVar[str] = (
        "- uses: plaintext.copies\n  with:\n    columns: [web.Profile.email]\n    budget: 2m\n"
        "    allow:\n      - { place: newsletter_address.email, reason: is encrypted by a later deployment }"
    )

    columns: tuple[ModelField, ...] = ()
    """app.Model.field of each column; by default those that the application says it encrypts."""
    on_find: Literal["fail", "warn"] = "fail"
    """What a copy means that is certain and not allowed."""
    allow: tuple[AllowedCopy, ...] = Field(())
    """Places that may stay, each with a reason."""
    folders: tuple[str, ...] = ()
    """Further folders to look through beside the application's MEDIA_ROOT, from the working copy."""
    budget: Duration = Field(60.0, gt=0)
    """How long to look; what was not looked at by then is named."""

    def execute(self, context: Context) -> Outcome:
        """Read some of the columns' rows, then look for them everywhere else.

        Raises:
            Refused: the application, the database or a folder cannot be reached.
        """
        target = context.target
        columns = list(dict.fromkeys((c.table, c.column) for c in chosen_columns(context, self.columns)))
        if not columns:
            return no_columns()
        until = target.clock.monotonic() + self.budget
        left = partial(_left, target, until)
        application = target.application_parts
        places = places_of(application) if application is not None else Places()
        with opened(context, read_only=True) as database, _sealers(target) as sealers:
            look = Look(
                database, sealers, places,
                partial(session_texts, application) if application is not None else None, left, pulse_of(context),
            )  # fmt: skip
            sources, digests, examples = look.learn(columns)
            copies = list(look.find(sources, digests, examples))
        files = FileSearch(digests, sources, left)
        for folder in self._folders(target, places):
            copies += files.find(folder)
        unlooked = [
            *look.unlooked,
            *files.unlooked,
            *(Unlooked(p, "it is not in this database") for p in places.elsewhere),
        ]
        if application is None:
            why = "the runbook names no application to ask for them"
            unlooked.append(Unlooked("sessions, caches, media", why, partly=True))
        return self._outcome(sources, copies, unlooked, places)

    def _folders(self, target: Target, places: Places) -> Iterator[Path]:
        for name in self.folders:
            folder = target.directory / name
            if not folder.is_dir():
                raise Refused(f"folders: {folder} is no folder", hint="Correct folders:, or make it.")
            yield folder
        # where nothing was ever uploaded there is no folder
        if places.media is not None and places.media.is_dir():
            yield places.media

    def _outcome(
        self, sources: Sequence[Source], copies: Sequence[Copy], unlooked: Sequence[Unlooked], places: Places
    ) -> Outcome:
        allowed = {place: self._reason(place) for place in [*(c.place for c in copies), *(u.place for u in unlooked)]}
        open_ = sorted((c for c in copies if not allowed[c.place]), key=lambda c: (not c.sure, -c.values))
        unseen = [u for u in unlooked if not allowed[u.place]]
        sure = [c for c in open_ if c.sure]
        blind = [f"{s.table}.{s.column}" for s in sources if s.read and not s.telling]
        status = self.on_find if sure else "warn" if open_ or not all(u.partly for u in unseen) else "pass"
        vain = [a.place for a in self.allow if not any(a.covers(place) for place in allowed)]
        evidence = {
            "sources": [asdict(s) for s in sources], "untellable": blind,
            "copies": [
                {**asdict(c), "sure": c.sure, "allowed": allowed[c.place], "model": _model(c.place, places.models)}
                for c in copies
            ],
            "unlooked": [{**asdict(u), "allowed": allowed[u.place]} for u in unlooked], "allowed_in_vain": vain,
        }  # fmt: skip
        return Outcome(_summary(sources, open_, unseen, blind), status, _HINT if open_ else "", evidence)

    def _reason(self, place: str) -> str:
        return next((a.reason for a in self.allow if a.covers(place)), "")


@contextmanager
def _sealers(target: Target) -> Iterator[Sealers | None]:
    """Who opens what is encrypted already; None where nothing is."""
    fields = target.discover().fields if target.application_parts is not None else ()
    own = [column for column in fields if column.sealed_by != "keys"]
    if not target.keys and not own:
        yield None
        return
    means = means_of(target, own)
    with sealing(means.keys, means.beside) as sealers:
        yield sealers


def _left(target: Target, until: float) -> float:
    return until - target.clock.monotonic()


def _model(place: str, models: Mapping[str, str]) -> str:
    return models.get(place.rpartition(".")[0], "")


def _summary(sources: Sequence[Source], open_: Sequence[Copy], unseen: Sequence[Unlooked], blind: Sequence[str]) -> str:
    told = [_told(copy) for copy in open_]
    parts = [some_of(told)] if told else [f"no copy of {len(sources)} columns was found"]
    if unseen:
        places = ", ".join(f"{u.place} ({u.why})" for u in unseen[:SHOWN])
        rest = f" and {len(unseen) - SHOWN} more" if len(unseen) > SHOWN else ""
        parts.append(f"not looked at, or not to the end: {places}{rest}")
    if blind:
        parts.append(f"no value tells of a copy of {', '.join(blind)}: all are short, frequent or dates")
    return "; ".join(parts)


def _told(copy: Copy) -> str:
    perhaps = "" if copy.sure else "perhaps "
    more = f" and {len(copy.of) - _COLUMNS} more columns" if len(copy.of) > _COLUMNS else ""
    of = ", ".join(copy.of[:_COLUMNS]) + more
    kind = "" if copy.kind == "column" else f" ({copy.kind})"
    rows = f" in {copy.rows:,} of {copy.looked:,} rows" if copy.looked else ""
    values = "value" if copy.values == 1 else "different values"
    return f"{copy.place}{kind} holds {perhaps}{copy.values:,} {values} of {of}{rows}"

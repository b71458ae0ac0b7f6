"""`encryption.usage`: where the application looks for what it will no longer find."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field

from deployguard.errors import Refused
from deployguard.source.base import Column, Use
from deployguard.source.usage import Usage, find_uses
from deployguard.steps.base import JSON, Check, Context, Outcome
from deployguard.steps.encryption import chosen_columns, no_columns
from deployguard.steps.words import ModelField, Reason, some_of

_KEPT = 200
"""Places in the report; the summary has the number of all."""
_HINT = (
    "Look rows up by another column, or by a keyed digest beside it; where a place may stay, "
    "say so under allow: with its reason."
)


class Allowed(BaseModel):
    """A place that may stay."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    file: str
    """From the working copy; `*` stands for any characters."""
    column: str = "*"
    """app.Model.field"""
    does: str = "*"
    """What the place does with it, as the report says it: `filters on`, `makes unique` …"""
    reason: Reason
    """Why it may, in words; the report repeats them."""

    def covers(self, use: Use) -> bool:
        """Whether this is the place."""
        pairs = ((use.file, self.file), (use.column, self.column), (use.does, self.does))
        return all(fnmatchcase(given, pattern) for given, pattern in pairs)


class EncryptionUsage(Check):
    """Check the application's source for places that look at an encrypted column's content in the database.

    Equal values have different tokens, so filters, orders, groups, joins, searches and unique
    constraints on such a column find nothing, order by chance, and hold nothing unique, without
    an error. The source is read and not run; where it does not say which model a query is about,
    the place is a warning at most.
    """

    uses: ClassVar[str] = "encryption.usage"
    example: ClassVar[str] = (
        "- uses: encryption.usage\n  with:\n    columns: [web.Profile.email]\n"
        "    allow:\n      - { file: web/admin.py, does: searches, reason: the search box is being removed }"
    )

    columns: tuple[ModelField, ...] = ()
    """app.Model.field of each column; by default those that the application says it encrypts."""
    on_use: Literal["fail", "warn"] = "fail"
    """What a place means that is certain and not allowed."""
    allow: tuple[Allowed, ...] = Field(())
    """Places that may stay, each with a reason."""

    def execute(self, context: Context) -> Outcome:
        """Read every source file of the working copy."""
        directory = context.target.directory
        if not directory.is_dir():
            raise Refused(f"{directory}: no such directory", hint="Clone the application there first.")
        columns = chosen_columns(context, self.columns)
        if not columns:
            return no_columns()
        return self._outcome(find_uses(directory, columns), columns)

    def _outcome(self, usage: Usage, columns: Sequence[Column]) -> Outcome:
        reasons = {use: next((a.reason for a in self.allow if a.covers(use)), "") for use in usage.uses}
        open_ = [use for use, reason in reasons.items() if not reason]
        sure = [use for use in open_ if use.sure]
        status = self.on_use if sure else "warn" if open_ or usage.unread else "pass"
        unused = [a.file for a in self.allow if not any(a.covers(use) for use in usage.uses)]
        evidence = {
            "columns": [c.name for c in columns], "files": usage.files, "unread": list(usage.unread),
            "uses": len(usage.uses), "certain": len(sure), "places": _places(reasons), "allowed_in_vain": unused,
        }  # fmt: skip
        return Outcome(_summary(usage, sure, open_, len(columns)), status, _HINT if open_ else "", evidence)


def _places(reasons: Mapping[Use, str]) -> list[JSON]:
    return [
        {"file": use.file, "line": use.line, "does": use.does, "column": use.column, "sure": use.sure, "allowed": why}
        for use, why in list(reasons.items())[:_KEPT]
    ]


def _summary(usage: Usage, sure: Sequence[Use], open_: Sequence[Use], columns: int) -> str:
    told = [f"{use.file}:{use.line} {use.does} {use.column}" for use in sure]
    told += [f"{use.file}:{use.line} perhaps {use.does} {use.column}" for use in open_ if not use.sure]
    told += [f"{name} could not be read" for name in usage.unread]
    if not told:
        allowed = f", {len(usage.uses)} places allowed" if usage.uses else ""
        return f"{usage.files} files look at none of {columns} columns in the database{allowed}"
    return some_of(told)

"""Whose keys seal each column, and what the plan and the report say of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from deployguard.errors import Refused
from deployguard.keys.fingerprint import fingerprint
from deployguard.rows.discover import steady_keys
from deployguard.rows.sealers import NOTHING, Beside
from deployguard.rows.target import EncryptedColumn
from deployguard.secret import Secret
from deployguard.steps.base import JSON, Target

_WAYS = {"hkdf": "by HKDF", "pbkdf2": "by PBKDF2"}
_MEMORY = "keys of columns"


@dataclass(frozen=True)
class Means:
    """What sealers are made of.

    Attributes:
        keys: of the runbook, newest first; none where no column needs them.
        beside: what the other columns need.
    """

    keys: tuple[Secret, ...]
    beside: Beside


def means_of(target: Target, columns: Sequence[EncryptedColumn], *, back: bool = False) -> Means:
    """Fetch the keys of columns: the runbook's by name, the others from the application, through a pipe.

    Args:
        target: the environment.
        columns: to be sealed or opened.
        back: in the order that the keys had before the newest was made: for undoing a rotation.

    Raises:
        Refused: a key is not there, or the application makes one up at each start.
    """
    own = [column for column in columns if column.sealed_by != "keys"]
    if len(own) < len(columns) or not columns:
        # says what is missing, or wrong with a key
        target.keyring  # noqa: B018
    keys = tuple(target.secrets.get(name) for name in target.keys)
    if not own:
        return Means(_back(keys) if back else keys, NOTHING)
    found = _found(target, own)
    derived = {c.place: found[c.field] for c in own if c.sealed_by == "derived"}
    if back:
        derived = {place: _back(ring) for place, ring in derived.items()}
    spoken = {c.place: c.field for c in own if c.sealed_by == "application"}
    return Means(_back(keys) if back else keys, Beside(derived, spoken, target.application if spoken else None))


def _found(target: Target, columns: Sequence[EncryptedColumn]) -> dict[str, tuple[Secret, ...]]:
    """Keys by field, as the application said since a step may have changed it."""
    known: dict[str, tuple[Secret, ...]] = target.remembered.setdefault(_MEMORY, {})
    if unknown := [column for column in columns if column.field not in known]:
        known |= steady_keys(target.application, unknown)
        lost = [c.place for c in unknown if c.sealed_by == "derived" and not known.get(c.field)]
        if lost:
            raise Refused(
                f"the application does not say the keys of {', '.join(lost)} any more",
                hint="Bring the code that encrypts them, with its settings, then go on.",
            )
    return known


def keys_gone(target: Target, columns: Sequence[EncryptedColumn]) -> tuple[EncryptedColumn, ...]:
    """Columns whose keys only the application knew, and whose code is gone."""
    own = [column for column in columns if column.sealed_by != "keys"]
    there = {column.field for column in target.discover().fields} if own else set()
    return tuple(column for column in own if column.field not in there)


def _back(keys: tuple[Secret, ...]) -> tuple[Secret, ...]:
    return (*keys[1:], *keys[:1])


def keys_of_application(target: Target, columns: Sequence[EncryptedColumn]) -> list[tuple[str, tuple[Secret, ...]]]:
    """Place and keys of each column that is not sealed by the runbook's keys; none where only the application seals it.

    Raises:
        Refused: a key is not steady, or not to be had.
    """
    own = [column for column in columns if column.sealed_by != "keys"]
    found = _found(target, own) if own else {}
    return [(c.place, found[c.field] if c.sealed_by == "derived" else ()) for c in own]


def whose_keys(target: Target, columns: Sequence[EncryptedColumn]) -> list[JSON]:
    """Of each column that is not sealed by the runbook's keys: whose, how they come to be, and their fingerprints."""
    own = [column for column in columns if column.sealed_by != "keys"]
    found = _found(target, own) if own else {}
    return [
        {
            "column": column.place, "sealed_by": column.sealed_by, "package": column.package or column.field_class,
            "derivation": column.derivation if column.sealed_by == "derived" else "",
            "from": list(column.derived_from), "fingerprints": [fingerprint(key) for key in found[column.field]],
        }
        for column in own
    ]  # fmt: skip


def key_lines(columns: Sequence[EncryptedColumn]) -> list[str]:
    """The same in sentences: what must be kept, since the runbook's keys do not open these columns."""
    told: dict[str, list[str]] = {}
    for column in columns:
        if column.sealed_by != "keys":
            told.setdefault(_sentence(column), []).append(column.place)
    return [f"{', '.join(places)}: {sentence}" for sentence, places in told.items()]


def _sentence(column: EncryptedColumn) -> str:
    names = " and ".join(column.derived_from)
    kept = f": whoever loses {names} loses the data" if names else ""
    if column.sealed_by == "derived":
        way = _WAYS.get(column.derivation, "in a way of its own")
        return f"the application derives the key {way}{f' from {names}' if names else ''}{kept}"
    package = f" ({column.package})" if column.package else ""
    return f"only the application seals and opens it{package}, slower, its key is not checked{kept}"

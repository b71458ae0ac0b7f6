"""Which columns are encrypted, and whether the application and we understand each other's tokens."""

import base64
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from deployguard.errors import Refused
from deployguard.rows.application import Answer, Application
from deployguard.rows.target import EncryptedColumn
from deployguard.secret import Secret


@dataclass(frozen=True)
class ApplicationDatabase:
    """A database as the settings name it, without user and password."""

    alias: str
    engine: str
    name: str
    host: str
    port: str


@dataclass(frozen=True)
class Discovery:
    """What the application says of itself.

    Attributes:
        fields: every encrypted column once, in the order of the model registry.
        notes: what was looked at and left out, and why; one sentence each.
        elsewhere: encrypted columns of other databases than the environment's, which no step touches.
    """

    fields: tuple[EncryptedColumn, ...]
    django: str
    python: str
    settings: str
    time_zone: str
    databases: tuple[ApplicationDatabase, ...]
    notes: tuple[str, ...]
    elsewhere: tuple[EncryptedColumn, ...] = ()

    def within(self, is_it: Callable[[ApplicationDatabase], bool]) -> "Discovery":
        """The same, of one database: where routers spread the models, tables of one name may stand in several.

        Args:
            is_it: whether a database of the settings is the one. Where none is, by what the settings
                say of it, it is the default one: a server has many names.
        """
        mine = {each.alias for each in self.databases if is_it(each)} or {"default"}
        fields = tuple(column for column in self.fields if column.database in mine)
        elsewhere = tuple(column for column in self.fields if column.database not in mine)
        return replace(self, fields=fields, elsewhere=elsewhere)


@dataclass(frozen=True)
class Handshake:
    """Whether the application and we read each other's tokens.

    Attributes:
        problems: one sentence for each column or setting that stands in the way.
        live_safe: every column's field reads plaintext too, so the site may serve during the change.
        stable: two starts of the application had the same keys.
    """

    ok: bool
    problems: tuple[str, ...]
    live_safe: bool
    stable: bool


def discover(application: Application) -> Discovery:
    """Ask the application for its encrypted columns. Opens no connection to its database.

    Raises:
        Refused: the application does not start.
    """
    found, settings = application.ask({"do": "fields"}, {"do": "settings"})
    return Discovery(
        fields=tuple(map(_column, found["fields"])),
        django=settings["django"],
        python=settings["python"],
        settings=settings["settings"],
        time_zone=settings["time_zone"],
        databases=tuple(ApplicationDatabase(alias, **each) for alias, each in settings["databases"].items()),
        notes=(*found["notes"], *_warnings(found["fields"])),
    )


def _column(said: Mapping[str, Any]) -> EncryptedColumn:
    """Lists become tuples; the probe may say more than a column holds."""
    known: dict[str, Any] = {name: said[name] for name in EncryptedColumn.__dataclass_fields__ if name in said}
    known.update({name: tuple(value) for name, value in known.items() if isinstance(value, list)})
    return EncryptedColumn(**known)


def _warnings(fields: Sequence[Mapping[str, Any]]) -> list[str]:
    unread = [f"{each['field']} does not read back what it stores" for each in fields if not each["self_reads"]]
    return unread + [
        f"{each['field']} stores something that is no Fernet token: the application seals and opens it itself"
        for each in fields
        if each["form"] == "other"
    ]


def application_keys(application: Application, columns: Sequence[EncryptedColumn]) -> dict[str, tuple[Secret, ...]]:
    """The keys each field uses, writing key first, derived as its package derives them.

    They come through a pipe from the application's process and are Secrets from the first line on.
    A field whose tokens are not Fernet, or not made by `cryptography`, has none.
    """
    keys = application.probe({"do": "keys", "fields": _names(columns)})["keys"]
    return {field: tuple(Secret(key, name=f"key of {field}") for key in listed) for field, listed in keys.items()}


def steady_keys(application: Application, columns: Sequence[EncryptedColumn]) -> dict[str, tuple[Secret, ...]]:
    """The same, after two starts of the application have agreed; and those that it seals itself open in the second.

    A key that is made up at each start would be lost with the process that made it.

    Raises:
        Refused: they do not agree, a field is gone, or the application does not start.
    """
    asked = {"do": "keys", "fields": _names(columns)}
    spoken = [column for column in columns if column.sealed_by == "application"]
    first, said = application.ask(asked, {"do": "seal", "fields": _names(spoken)})
    kept = [{"field": field, "stored": each["stored"]} for field, each in said["sealed"].items()]
    second, read = application.ask(asked, _opening(kept))
    unsteady = _differing(first["keys"], second["keys"])
    problems = [f"the key of {name} differs between two starts of the application" for name in unsteady]
    problems += _forgotten(kept, read["opened"])
    there = first["keys"].keys() | said["sealed"].keys()
    problems += [f"{c.field} is no encrypted field of the application" for c in columns if c.field not in there]
    if problems:
        raise Refused("; ".join(problems), hint="Without its key a value is lost: have the settings name a fixed one.")
    return {field: tuple(Secret(key, name=f"key of {field}") for key in keys) for field, keys in first["keys"].items()}


def handshake(
    application: Application,
    columns: Sequence[EncryptedColumn],
    seal: Callable[[EncryptedColumn, bytes], bytes],
    open_token: Callable[[EncryptedColumn, bytes], bytes],
) -> Handshake:
    """Have the application open what we sealed, and open what it sealed, for every column.

    The first start seals a sample for each field. We open it, seal the content again, and a second
    start opens both: so each direction is tried, and also whether tokens outlive a restart. Columns
    without a field are not the application's and are passed over.

    Args:
        application: is started twice.
        columns: as `discover` found them, or any part of these.
        seal: plaintext to token, under the column's primary key.
        open_token: token to plaintext; raises, whatever it likes, where no key opens it.

    Raises:
        Refused: the application does not start.
    """
    nonce = secrets.token_hex(32)
    before, said = application.ask(_settings(nonce), {"do": "seal", "fields": _names(columns)})
    theirs: dict[str, Answer] = said["sealed"]
    ours = {each: _reply(each, theirs.get(each.field), seal, open_token) for each in columns if each.field}
    replies = [_item(each.field, token) for each, token in ours.items() if isinstance(token, bytes)]
    kept = [{"field": field, "stored": each["stored"]} for field, each in theirs.items()]
    after, read, reread = application.ask(_settings(nonce), _opening(replies), _opening(kept))
    problems = [reason for reason in ours.values() if isinstance(reason, str)]
    problems += _unread(columns, replies, read["opened"])
    unstable = _changed(before, after) + _forgotten(kept, reread["opened"])
    return Handshake(
        ok=not problems and not unstable,
        problems=(*problems, *unstable),
        live_safe=all(column.reads_plaintext for column in columns),
        stable=not unstable,
    )


def _reply(
    column: EncryptedColumn,
    theirs: Answer | None,
    seal: Callable[[EncryptedColumn, bytes], bytes],
    open_token: Callable[[EncryptedColumn, bytes], bytes],
) -> bytes | str:
    """Our token with the content of theirs, or the sentence that says why there is none."""
    name = f"{column.place} ({column.field})"
    if theirs is None:
        return f"{name} is no encrypted field of the application"
    try:
        content = open_token(column, base64.b64decode(theirs["stored"]))
    except Exception:  # noqa: BLE001 - whichever key object is behind it, the answer is no
        return f"{name} cannot be opened with the given key: the application encrypts with another one"
    if theirs["text"] is not None and content != theirs["text"].encode():
        return f"{name} holds something else inside its token than the text it was given"
    return seal(column, content)


def _item(field: str, token: bytes) -> dict[str, str]:
    return {"field": field, "stored": base64.b64encode(token).decode("ascii")}


def _opening(items: list[dict[str, str]]) -> dict[str, Any]:
    return {"do": "open", "items": items}


def _forgotten(items: Sequence[Mapping[str, str]], results: Sequence[Answer]) -> list[str]:
    """Fields whose own tokens of the first start the second does not open."""
    lost = [item["field"] for item, each in zip(items, results, strict=True) if not each["sample"]]
    return [f"{field} does not read after a restart what it stored before" for field in lost]


def _unread(
    columns: Sequence[EncryptedColumn], items: Sequence[Mapping[str, str]], results: Sequence[Answer]
) -> list[str]:
    places = {column.field: f"{column.place} ({column.field})" for column in columns}
    return [
        f"{places[item['field']]}: the application cannot read what we encrypted{_because(each)}"
        for item, each in zip(items, results, strict=True)
        if not each["sample"]
    ]


def _because(result: Answer) -> str:
    return f" ({result['error']})" if result["error"] else ""


def _changed(before: Answer, after: Answer) -> list[str]:
    """Settings and field keys that two starts do not agree on."""
    names = [*_differing(before["digests"], after["digests"]), *_differing(before["key_digests"], after["key_digests"])]
    return [f"{name} differs between two starts of the application: it is made up at each start" for name in names]


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def _settings(nonce: str) -> dict[str, str]:
    return {"do": "settings", "nonce": nonce}


def _names(columns: Sequence[EncryptedColumn]) -> list[str]:
    return [column.field for column in columns if column.field]

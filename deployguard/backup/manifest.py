"""What a backup says of itself, under the operator's seal. Without a manifest there is no backup."""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from deployguard.backup.base import Facts, Table
from deployguard.backup.durable import create, to_disk
from deployguard.backup.seal import OperatorKey
from deployguard.databases.base import Identity
from deployguard.errors import Damaged

NAME = "manifest.json"
FORMAT = 3
STATES = ("written", "readable", "restored")
"""From weakest to strongest: on disk; read back to its last byte; restored and found equal."""
LONGEST = 64 * 1024 * 1024
"""Bytes. No manifest of ours comes near it."""


@dataclass(frozen=True)
class Stored:
    """The dump as it lies on disk: its bytes, and those it gives when opened."""

    name: str
    bytes: int
    sha256: str
    plain_bytes: int
    plain_sha256: str
    layers: tuple[str, ...] = ()
    """What was put around the dump, first to last: `zstd`, `age`."""


@dataclass(frozen=True)
class Manifest:
    """A backup's identity, contents and how far it has been tried.

    Attributes:
        id: name of its folder; a backup under another name is refused.
        run, step: who took it; empty when a person did by hand.
        taken_at, ended_at, expires: RFC 3339, UTC. `taken_at` is the moment it shows.
        recipients: who can open it (age); empty when it is not encrypted, for the `reason` given.
    """

    id: str
    run: str
    step: str
    environment: str
    state: str
    identity: Identity
    client_version: str
    position: str
    taken_at: str
    ended_at: str
    expires: str
    reason: str
    recipients: tuple[str, ...]
    stored: Stored
    facts: Facts
    keys: tuple[str, ...] | None = None
    """Fingerprints of the field-encryption keys that its tokens need; None where nobody said."""
    size: int = 0
    """Bytes that the database took up; 0 where an earlier version took it."""

    @property
    def encrypted(self) -> bool:
        """Whether the dump is encrypted for its recipients."""
        return "age" in self.stored.layers

    @property
    def rows(self) -> dict[str, int]:
        """Rows by table."""
        return {name: table.rows for name, table in self.facts.tables.items()}

    def reached(self, state: str) -> bool:
        """Whether it was tried at least this far."""
        return STATES.index(self.state) >= STATES.index(state)


def render(manifest: Manifest, key: OperatorKey) -> bytes:
    """The manifest's file: one form only, so that any other byte is damage."""
    body = {"format": FORMAT, **asdict(manifest)}
    return _text({"manifest": body, "seal": {"key": key.id, "hmac_sha256": key.seal(_text(body))}})


def _text(data: Any) -> bytes:  # noqa: ANN401
    return json.dumps(data, sort_keys=True, ensure_ascii=True, indent=1, allow_nan=False).encode() + b"\n"


def write(folder: Path, manifest: Manifest, key: OperatorKey) -> str:
    """Write the manifest, through to the disk; its SHA-256."""
    data = render(manifest, key)
    with create(folder / NAME) as stream:
        stream.write(data)
        to_disk(stream)
    return hashlib.sha256(data).hexdigest()


def parse(data: bytes, name: str, where: str, key: OperatorKey) -> tuple[Manifest, str]:
    """A backup's manifest and its SHA-256, once its seal holds.

    Args:
        data: the manifest's bytes.
        name: that the backup goes by.
        where: it is, for messages.
        key: of whoever sealed it.

    Raises:
        Damaged: it was changed, was sealed with another key, or belongs to a backup of another name.
    """
    manifest = _parsed(data, where, key)
    if manifest.id != name:
        raise damaged(where, "is another backup under this name")
    return manifest, hashlib.sha256(data).hexdigest()


def _parsed(data: bytes, where: str, key: OperatorKey) -> Manifest:
    try:
        document = json.loads(data)
        body, seal = document["manifest"], document["seal"]
        key_id, mac = str(seal["key"]), str(seal["hmac_sha256"])
        canonical = _text(document) == data
    except (ValueError, KeyError, TypeError, RecursionError):
        raise damaged(where, "has a manifest that was changed") from None
    if key_id != key.id:
        raise Damaged(
            f"the backup {where} was sealed with another key ({key_id[:16]!r}, not {key.id})",
            hint="Use the key of the machine and project that took it: operator.key, or DEPLOYGUARD_JOURNAL_KEY.",
        )
    if not canonical or not key.holds(_text(body), mac):
        raise damaged(where, "has a manifest that was changed")
    if body["format"] != FORMAT:
        raise Damaged(
            f"the backup {where} has format {body['format']}, not {FORMAT}",
            hint="Use the version of deployguard that took it.",
        )
    return _from_json(body)


def _from_json(body: dict[str, Any]) -> Manifest:
    # the seal has been checked: these are our own words
    # earlier versions said nothing of keys and size
    plain = {f.name: body[f.name] for f in fields(Manifest) if f.name in body}
    stored, facts = body["stored"], body["facts"]
    tables = {name: Table(**table) for name, table in facts["tables"].items()}
    return Manifest(
        **{
            **plain,
            "identity": Identity(**body["identity"]),
            "recipients": tuple(body["recipients"]),
            "keys": tuple(body["keys"]) if body.get("keys") is not None else None,
            "stored": Stored(**{**stored, "layers": tuple(stored["layers"])}),
            "facts": Facts(facts["schema"], tables, tuple(facts["notes"]), facts["counters"]),
        }
    )


def damaged(where: str, what: str) -> Damaged:
    """The error for a backup that is not what was once written."""
    return Damaged(
        f"the backup {where} {what}",
        hint="Do not restore it. 'deployguard backup list' shows the others, 'deployguard backup create' takes one.",
    )

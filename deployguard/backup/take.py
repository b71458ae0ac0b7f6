"""Take a backup: copy, store, read back, restore, compare; its manifest and its name come last."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from deployguard.backup import manifest as manifests
from deployguard.backup import stored as files
from deployguard.backup.base import Product, Pulse, quiet
from deployguard.backup.counting import counted
from deployguard.backup.destinations import Destination
from deployguard.backup.durable import PARTIAL, empty, held, private_folder, remove
from deployguard.backup.find import Backup, read_backup
from deployguard.backup.layers import Identity, one_time_identity, parse_recipients
from deployguard.backup.manifest import Manifest
from deployguard.backup.room import Need, require
from deployguard.backup.seal import OperatorKey
from deployguard.backup.stored import Files
from deployguard.clock import Clock
from deployguard.databases.server_disk import room_in
from deployguard.errors import Damaged, Refused, StepFailed

Trial = Literal["restore", "read", "none"]


@dataclass(frozen=True)
class Store:
    """Where backups are kept, whose seal they bear, and who watches."""

    destination: Destination
    key: OperatorKey
    clock: Clock
    pulse: Pulse = quiet


@dataclass(frozen=True)
class Order:
    """What backup is wanted.

    Attributes:
        id: its name, one file name.
        verify: how far to try it.
        reason: why it is not encrypted, in words.
        expires: seconds until it should be destroyed.
    """

    id: str
    environment: str
    run: str = ""
    step: str = ""
    verify: Trial = "restore"
    recipients: tuple[str, ...] = ()
    """Public keys of age; none: not encrypted."""
    reason: str = ""
    expires: float = 30 * 86400.0
    keys: tuple[str, ...] | None = None
    """Fingerprints of the field-encryption keys that the tokens need; None where nobody knows."""


def take(product: Product, store: Store, order: Order, trial: Product | None = None) -> Backup:
    """Take a backup.

    Args:
        product: the database.
        store: where the backup goes.
        order: what is wanted.
        trial: the database with its copies elsewhere, to try the backup there; by default on its own server.

    Nothing has the backup's name before everything is on the disk; a crash leaves a folder
    that ends in `.partial`, which the next try removes. Where it was finished and only not
    published, the next try publishes it.

    Raises:
        Refused: a backup of this name is there, or no room for one, or it cannot be tried there; nothing was written.
        StepFailed: it could not be written, or is not what the database holds.
    """
    there = store.destination
    if order.id in there.names():
        raise Refused(
            f"there is a backup {there.where(order.id)} already",
            hint="It is never overwritten; take one by another name.",
        )
    recipients = parse_recipients(order.recipients) if order.recipients else []
    trial = trial or product
    trial.require_alike()
    private_folder(there.staging)
    with _draft(there.staging, order.id) as folder:
        manifest = _finished(folder, store, order) or _made(product, trial, folder, store, order, recipients)
        there.publish(folder, manifest, store.pulse)
    return read_backup(there, order.id, store.key)


def forget(trial: Product, staging: Path, id_: str) -> None:
    """Remove what a try that was killed has left: its scratch database and its draft, unless that is finished."""
    private_folder(staging)
    with _draft(staging, id_):
        trial.clear(_scratch(id_))


def _scratch(id_: str) -> str:
    return f"scratch-{id_}"


@contextmanager
def _draft(staging: Path, name: str) -> Iterator[Path]:
    """A folder to make a backup in, ours alone. A finished one stays when it could not be published."""
    path = staging / (name + PARTIAL)
    private_folder(path)
    with held(path):
        try:
            yield path
        finally:
            if path.exists() and not (path / manifests.NAME).exists():
                remove(path)


def _finished(folder: Path, store: Store, order: Order) -> Manifest | None:
    """What an earlier try has made and not published; None where that is nothing, or not all of it."""
    where = store.destination.where(order.id)
    try:
        manifest, _ = manifests.parse((folder / manifests.NAME).read_bytes(), order.id, where, store.key)
        files.check(Files(folder, manifest, where), store.pulse)
    except (OSError, Damaged):
        return None
    return manifest


def _made(
    product: Product, trial: Product, folder: Path, store: Store, order: Order, recipients: Sequence[Any]
) -> Manifest:
    empty(folder)
    size = product.size()
    _require_room(product, trial if order.verify == "restore" else None, folder, size)
    store.destination.prepare(order.id)
    # for as long as this process lives there is one key more, to try the backup with
    once = [one_time_identity()] if recipients else []
    written = _write(product, folder, order, store, [*recipients, *(i.to_public() for i in once)], size)
    made = Files(folder, written, store.destination.where(order.id))
    manifest = replace(try_out(trial, store, made, order.verify, once), ended_at=stamp(store.clock.now()))
    manifests.write(folder, manifest, store.key)
    return manifest


def _require_room(product: Product, trial: Product | None, folder: Path, size: int) -> None:
    # how far it will compress nobody knows before
    needs = [Need(room_in(folder), size, "the backup")]
    if trial or product.snapshot_is_copy:
        needs.append(Need((trial or product).room(folder), size, "a copy of the database"))
    require(needs)


def _write(
    product: Product, folder: Path, order: Order, store: Store, recipients: Sequence[Any], size: int
) -> Manifest:
    now = store.clock.now()
    with product.snapshot(folder, store.key.digests, store.pulse) as snapshot:
        with counted(snapshot, store.pulse) as counting:
            with snapshot.read(packed=not recipients) as dump:
                stored = files.store(dump, folder / product.dump_name, recipients, store.pulse, size)
            facts = counting.facts()
        return Manifest(
            id=order.id, run=order.run, step=order.step, environment=order.environment, state="written",
            identity=product.identity(), client_version=product.client_version(), position=snapshot.position,
            taken_at=stamp(now), ended_at="", expires=stamp(now + timedelta(seconds=order.expires)),
            reason=order.reason, recipients=order.recipients, stored=stored, facts=facts,
            keys=order.keys, size=size,
        )  # fmt: skip


def try_out(trial: Product, store: Store, made: Files, how: Trial, identities: Sequence[Identity]) -> Manifest:
    """Find out how good a backup is; the manifest with the state it reached.

    Raises:
        Damaged: its bytes are not those that were written.
        StepFailed: it does not restore to what the database held.
    """
    manifest = made.manifest
    if how == "none":
        return manifest
    files.check(made, store.pulse)
    if how == "read":
        files.read_back(made, identities, store.pulse)
        return replace(manifest, state="readable")
    with (
        files.opened(made, identities, store.pulse) as dump,
        trial.restored(dump, made.folder, _scratch(manifest.id), store.pulse) as copy,
    ):
        differences = manifest.facts.differences(copy.facts(store.key.digests, store.pulse))
    if differences:
        raise StepFailed(
            f"the backup restores, but not to what the database held: {differences[0]}",
            hint="Do not go on: take another backup, and look at the disk if it happens again.",
        )
    return replace(manifest, state="restored")


def stamp(moment: datetime) -> str:
    """A moment as the journal writes it."""
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")

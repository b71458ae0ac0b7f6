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
from deployguard.backup.durable import PARTIAL, private_folder, publish, remove
from deployguard.backup.layers import Identity, one_time_identity, parse_recipients
from deployguard.backup.manifest import Manifest
from deployguard.backup.seal import OperatorKey
from deployguard.clock import Clock
from deployguard.errors import Refused, StepFailed

Trial = Literal["restore", "read", "none"]


@dataclass(frozen=True)
class Backup:
    """A backup on disk whose seal has been checked."""

    path: Path
    manifest: Manifest
    sha256: str
    """Of the manifest."""


@dataclass(frozen=True)
class Store:
    """Where backups are kept, whose seal they bear, and who watches.

    Attributes:
        folder: private; made when it is not there.
    """

    folder: Path
    key: OperatorKey
    clock: Clock
    pulse: Pulse = quiet


@dataclass(frozen=True)
class Order:
    """What backup is wanted.

    Attributes:
        id: name of its folder, one file name.
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


def take(product: Product, store: Store, order: Order) -> Backup:
    """Take a backup.

    Nothing has the backup's name before everything is on the disk; a crash leaves a folder
    that ends in `.partial`, which the next try removes.

    Raises:
        Refused: a backup of this name is there.
        StepFailed: it could not be written, or is not what the database holds.
    """
    final = store.folder / order.id
    if final.exists():
        raise Refused(f"there is a backup {final} already", hint="It is never overwritten; take one by another name.")
    recipients = parse_recipients(order.recipients) if order.recipients else []
    private_folder(store.folder)
    with _partial(final) as partial:
        # for as long as this process lives there is one key more, to try the backup with
        once = [one_time_identity()] if recipients else []
        written = _write(product, partial, order, store, [*recipients, *(i.to_public() for i in once)])
        tried = try_out(product, store, Backup(partial, written, ""), order.verify, once)
        manifests.write(partial, replace(tried, ended_at=stamp(store.clock.now())), store.key)
        publish(partial, final)
    return Backup(final, *manifests.read(final, store.key))


@contextmanager
def _partial(final: Path) -> Iterator[Path]:
    partial = final.with_name(final.name + PARTIAL)
    if partial.exists():
        remove(partial)
    private_folder(partial)
    try:
        yield partial
    finally:
        if partial.exists():
            remove(partial)


def _write(product: Product, partial: Path, order: Order, store: Store, recipients: Sequence[Any]) -> Manifest:
    now = store.clock.now()
    with product.snapshot(partial, store.key.digests, store.pulse) as snapshot:
        with snapshot.read(packed=not recipients) as dump:
            stored = files.store(dump, partial / product.dump_name, recipients, store.pulse)
        return Manifest(
            id=order.id, run=order.run, step=order.step, environment=order.environment, state="written",
            identity=product.identity(), client_version=product.client_version(), position=snapshot.position,
            taken_at=stamp(now), ended_at="", expires=stamp(now + timedelta(seconds=order.expires)),
            reason=order.reason, recipients=order.recipients, stored=stored, facts=snapshot.facts,
            keys=order.keys,
        )  # fmt: skip


def try_out(product: Product, store: Store, backup: Backup, how: Trial, identities: Sequence[Identity]) -> Manifest:
    """Find out how good a backup is; the manifest with the state it reached.

    Raises:
        Damaged: its bytes are not those that were written.
        StepFailed: it does not restore to what the database held.
    """
    folder, manifest = backup.path, backup.manifest
    if how == "none":
        return manifest
    files.check(folder, manifest, store.pulse)
    if how == "read":
        files.read_back(folder, manifest, identities, store.pulse)
        return replace(manifest, state="readable")
    with (
        files.opened(folder, manifest, identities, store.pulse) as dump,
        product.restored(dump, folder, f"scratch-{manifest.id}", store.pulse) as copy,
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

"""Put a backup in the database's place: never before a copy of it has been restored beside, and compared."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from deployguard.backup import stored
from deployguard.backup.base import Copy, Loss, Product
from deployguard.backup.destinations import Destination
from deployguard.backup.durable import PARTIAL, scratch
from deployguard.backup.find import Backup
from deployguard.backup.layers import Identity
from deployguard.backup.manifest import Manifest
from deployguard.backup.release import is_older
from deployguard.backup.room import Need, require
from deployguard.backup.take import Store
from deployguard.databases.base import Identity as DatabaseIdentity
from deployguard.databases.server_disk import room_in
from deployguard.errors import Damaged, Refused


@dataclass(frozen=True)
class Restored:
    """What a restore did.

    Attributes:
        kept: where the former database is now.
        loss: what the former database had and the restored one has not, by table.
    """

    kept: str
    loss: dict[str, Loss]


@contextmanager
def beside(
    product: Product, backup: Backup, store: Store, identities: Sequence[Identity], *, swapping: bool = False
) -> Iterator[Copy]:
    """The backup, restored beside the database and found equal to what was taken.

    There must be room for all of it beforehand; with `swapping`, for taking the database's place too.

    Raises:
        Damaged: the backup is not what was once written; nothing was restored.
        Refused: it is of another database product, or a newer server, or a disk is too small.
    """
    _fits(product, backup)
    _require_room(product, backup.manifest, store.destination, swapping=swapping)
    with (
        scratch(store.destination.staging / f"{backup.manifest.id}.restore{PARTIAL}") as folder,
        _checked(backup, identities, store) as files,
        stored.opened(files, identities, store.pulse) as dump,
        product.restored(dump, folder, f"restore-{backup.manifest.id}", store.pulse) as copy,
    ):
        differences = backup.manifest.facts.differences(copy.facts(store.key.digests, store.pulse))
        if differences:
            raise Damaged(
                f"the backup {backup.where} restores, but not to what was taken: {differences[0]}",
                hint="The database was not touched. Use another backup: 'deployguard backup list'.",
            )
        yield copy


def _require_room(product: Product, manifest: Manifest, there: Destination, *, swapping: bool) -> None:
    size = manifest.size or manifest.stored.plain_bytes
    require(
        [
            Need(room_in(there.staging), there.fetched(manifest), "the backup's files"),
            Need(product.room(there.staging), size, "a copy of the database"),
            *(product.swap_needs(size) if swapping else []),
        ]
    )


@contextmanager
def _checked(backup: Backup, identities: Sequence[Identity], store: Store) -> Iterator[stored.Files]:
    """The backup's files, every byte of which is what was written and can be decrypted."""
    with backup.files(store.pulse) as files:
        stored.check(files, store.pulse)
        stored.read_back(files, identities, store.pulse)
        yield files


def _fits(product: Product, backup: Backup) -> None:
    mine, theirs = product.identity(), backup.manifest.identity
    if theirs.engine != mine.engine:
        raise Refused(
            f"the backup {backup.where} is of a {theirs.engine} database, and the target is {mine.engine}",
            hint="Choose the backup of this environment: 'deployguard backup list'.",
        )
    if is_older(mine, theirs):
        raise Refused(
            f"the backup {backup.where} is of {theirs.engine} {theirs.version}, and the server is {mine.version}",
            hint="A dump does not go back to an older server: restore it on one that is at least as new.",
        )


@dataclass(frozen=True)
class Ready:
    """A backup that stands restored beside the database and needs only to take its place.

    Attributes:
        identity: of the database that it would replace.
        loss: what the present database has and the backup has not, by table, as counted once
            the copy stood.
    """

    identity: DatabaseIdentity
    loss: dict[str, Loss]
    backup: Backup
    _copy: Copy
    _store: Store

    @property
    def name(self) -> str:
        """What people call the database: of a file, its name without the folder."""
        return Path(self.identity.database).name if self.identity.engine == "sqlite" else self.identity.database

    def take_place(self) -> Restored:
        """Swap it in; what was there is kept under a dated name.

        Raises:
            Refused: somebody is using the database; nothing was changed.
        """
        store, facts = self._store, self.backup.manifest.facts
        kept = f"{self.name}.before-restore-{store.clock.now():%Y%m%dT%H%M%S%f}"
        return Restored(self._copy.take_place(kept, facts, store.key.digests, store.pulse), self.loss)


@contextmanager
def ready(product: Product, backup: Backup, store: Store, identities: Sequence[Identity]) -> Iterator[Ready]:
    """The backup, restored beside the database and compared with it.

    Raises:
        Damaged, Refused: as `beside`.
    """
    with beside(product, backup, store, identities, swapping=True) as copy:
        yield Ready(product.identity(), copy.loss(), backup, copy, store)


def restore(product: Product, backup: Backup, store: Store, identities: Sequence[Identity] = ()) -> Restored:
    """Put a backup in the database's place, and keep what was there under a dated name.

    A crash at any point leaves one complete database answering to the name: the former one
    until the swap, the restored one after it. Doing it again is safe.

    Raises:
        Damaged, Refused: the database was not touched.
    """
    with ready(product, backup, store, identities) as standing:
        return standing.take_place()

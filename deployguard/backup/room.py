"""Room on every disk that takes part, looked at before the first byte is written."""

from collections.abc import Hashable, Iterable
from dataclasses import dataclass

from deployguard.databases.server_disk import Room
from deployguard.errors import Refused

_MIB = 1024 * 1024


@dataclass(frozen=True)
class Need:
    """Bytes that are about to be written, and for what.

    Attributes:
        room: of the disk; None where nobody can tell, which is not a reason to refuse.
    """

    room: Room | None
    bytes: int
    purpose: str


def require(needs: Iterable[Need]) -> None:
    """Pass if there is room for all of it; what goes to one disk adds up.

    Raises:
        Refused: a disk is too small.
    """
    disks: dict[Hashable, tuple[Room, list[Need]]] = {}
    for need in needs:
        if need.room is not None:
            disk = need.room.place if need.room.device is None else need.room.device
            disks.setdefault(disk, (need.room, []))[1].append(need)
    for room, wanted in disks.values():
        _fits(room, wanted)


def _fits(room: Room, wanted: list[Need]) -> None:
    total = sum(need.bytes for need in wanted)
    if total <= room.free:
        return
    parts = ", ".join(f"{need.purpose} {_shown(need.bytes)}" for need in wanted if need.bytes)
    raise Refused(
        f"the disk of {room.place} has {_shown(room.free)} free, and {_shown(total)} are needed: {parts}",
        hint="Nothing was written. Free some space there; backups may have another disk: DEPLOYGUARD_HOME, or to:.",
    )


def _shown(count: int) -> str:
    return f"{-(-count // _MIB):,} MiB"

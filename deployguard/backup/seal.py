"""The operator's key: what makes a backup ours, and tells two tables' contents apart without showing either."""

import hashlib
import hmac
import os
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from deployguard.backup.durable import create, sync_folder, to_disk
from deployguard.errors import Refused
from deployguard.secret import Secret

FILE = "operator.key"
VARIABLE = "DEPLOYGUARD_JOURNAL_KEY"


@dataclass(frozen=True)
class OperatorKey:
    """Keys for the three uses, derived from one secret so that none of them gives another away."""

    _root: Secret = field(repr=False)

    def _derived(self, use: str) -> bytes:
        return hmac.digest(self._root.reveal().encode(), f"deployguard backup {use}".encode(), hashlib.sha256)

    @property
    def id(self) -> str:
        """Names the key and reveals nothing of it."""
        return self._derived("id").hex()[:16]

    @property
    def digests(self) -> bytes:
        """Key of the tables' digests."""
        return self._derived("digests")

    def seal(self, data: bytes) -> str:
        """HMAC-SHA256 of a manifest."""
        return hmac.digest(self._derived("seal"), data, hashlib.sha256).hex()

    def holds(self, data: bytes, seal: str) -> bool:
        """Whether the seal was made with this key over these bytes."""
        return hmac.compare_digest(self.seal(data).encode(), seal.encode())


def operator_key(home: Path, *, make: bool) -> OperatorKey:
    """The key of a project: DEPLOYGUARD_JOURNAL_KEY, or else a file in deployguard's own folder.

    A key that is given in the environment is the only one that counts: whoever can write
    to the folder could otherwise put a key there, and seal what they like with it.

    Args:
        home: deployguard's folder.
        make: write a new key where there is none.

    Raises:
        Refused: there is none and none may be made, or others can read it.
    """
    given = os.environ.get(VARIABLE)
    if given:
        return OperatorKey(Secret(given, name=VARIABLE))
    path = home / FILE
    if not path.exists():
        if not make:
            raise Refused(
                f"there is no key to check backups with: {path} is not there",
                hint=f"Put back {FILE} from the machine that took the backup, or set {VARIABLE}.",
            )
        _write_new(path)
    if path.lstat().st_mode & 0o077:
        raise Refused(f"{path} can be read by others", hint=f"Run 'chmod 0600 {path}' if nobody else has seen it.")
    return OperatorKey(Secret(path.read_text("ascii").strip(), name=FILE))


def _write_new(path: Path) -> None:
    # linked into place when it is complete: two processes that both make one end up with the same
    fresh = path.with_name(f"{FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    with create(fresh) as stream:
        stream.write(secrets.token_hex(32).encode() + b"\n")
        to_disk(stream)
    try:
        os.link(fresh, path)
    except FileExistsError:
        pass
    finally:
        fresh.unlink()
    sync_folder(path.parent)

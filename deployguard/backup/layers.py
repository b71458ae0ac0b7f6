"""What goes around a dump, as a stream: zstandard, then age. No stage holds more than some hundred kilobytes.

Sources: age-encryption.org/v1 ("STREAM"), RFC 8878.
"""

import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Protocol, cast

from deployguard.backup.base import Source
from deployguard.errors import Damaged, DeployguardError, Refused, UsageError
from deployguard.secret import Secret

LAYERS = ("zstd", "age")
_LEVEL = 1
"""Level 3, zstd's own choice, took five times as long and saved nothing of hexadecimal texts and tokens."""
_CHUNK = 1024 * 1024
Identity = Any
"""A pyrage identity: opens what was encrypted for its recipient."""


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes, /) -> int:
        """Take all of them."""

    def flush(self) -> None:
        """Nothing to do."""


def parse_recipients(texts: Sequence[str]) -> list[Any]:
    """Public keys, `age1…` or `ssh-ed25519 …`.

    Raises:
        UsageError: one is not a public key; a message never repeats it, it might be a private one.
        Refused: the libraries are not installed.
    """
    pyrage = _pyrage()
    return [_recipient(pyrage, text.strip(), number) for number, text in enumerate(texts, 1)]


def _recipient(pyrage: Any, text: str, number: int) -> Any:  # noqa: ANN401
    kind = pyrage.ssh if text.startswith("ssh-") else pyrage.x25519
    try:
        return kind.Recipient.from_str(text)
    except pyrage.RecipientError:
        raise UsageError(
            f"recipient {number} is not a public key of age",
            hint="It begins with age1 or ssh-ed25519: the line that 'age-keygen' prints as public key.",
        ) from None


def parse_identities(text: Secret) -> list[Identity]:
    """Private keys: the content of an age identity file, or of an OpenSSH private key.

    Raises:
        UsageError: there is none in it.
    """
    pyrage = _pyrage()
    content = text.reveal()
    try:
        if "-----BEGIN" in content:
            return [pyrage.ssh.Identity.from_buffer(content.encode())]
        lines = [line.strip() for line in content.splitlines()]
        found = [pyrage.x25519.Identity.from_str(line) for line in lines if line and not line.startswith("#")]
    except pyrage.IdentityError:
        found = []
    if not found:
        raise UsageError(
            f"{text.name} holds no private key of age",
            hint="Name the file that 'age-keygen' wrote, or an SSH private key without a passphrase.",
        )
    return found


def one_time_identity() -> Identity:
    """A key for trying a backup once, at the time it is taken. It is never written down.

    With it a backup can be read back and restored on a machine that must not hold the key
    of any recipient.
    """
    return _pyrage().x25519.Identity.generate()


def wrap(source: Source, sink: Sink, recipients: Sequence[Any]) -> None:
    """Compress and encrypt everything; what source or sink raise comes through."""
    import zstandard

    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    with compressor.stream_reader(cast("BinaryIO", source), read_size=_CHUNK, closefd=False) as packed:
        _pyrage().encrypt_io(packed, sink, list(recipients))


@contextmanager
def unwrapped(source: BinaryIO, identities: Sequence[Identity]) -> Iterator[Source]:
    """What `wrap` was given, chunk by chunk, each authenticated before it is handed out.

    Raises:
        Refused: none of the identities opens it.
        Damaged: it is not what was once written. This is known at the end at the latest:
            only who leaves without an error has had all of it.
    """
    import zstandard

    begin, end = os.pipe()
    failed: list[BaseException] = []
    thread = threading.Thread(target=_decrypt, args=(source, end, identities, failed), daemon=True)
    thread.start()
    try:
        with os.fdopen(begin, "rb") as pipe, zstandard.ZstdDecompressor().stream_reader(pipe, closefd=False) as plain:
            yield _Explained(plain, failed, thread)
    finally:
        thread.join()
    if failed:
        raise _explained(failed[0])


def _decrypt(source: BinaryIO, end: int, identities: Sequence[Identity], failed: list[BaseException]) -> None:
    with os.fdopen(end, "wb", buffering=_CHUNK) as pipe:
        try:
            _pyrage().decrypt_io(source, pipe, list(identities))
            pipe.flush()
        except Exception as error:  # noqa: BLE001 - it is raised where the bytes are read
            failed.append(error)
            with suppress(OSError):
                pipe.close()


class _Explained:
    """The plain bytes; an end that comes too early is an error and no end."""

    def __init__(self, plain: Source, failed: list[BaseException], thread: threading.Thread) -> None:
        self._plain, self._failed, self._thread = plain, failed, thread

    def read(self, size: int = -1, /) -> bytes:
        import zstandard

        try:
            data = self._plain.read(size)
        except zstandard.ZstdError as error:
            self._thread.join()
            raise _explained(self._failed[0] if self._failed else error) from None
        if not data and size != 0:
            self._thread.join()
            if self._failed:
                raise _explained(self._failed[0])
        return data


def _explained(error: BaseException) -> DeployguardError:
    if "No matching keys" in str(error):
        return Refused(
            "none of the private keys opens the backup",
            hint="Use the private key of one of its recipients: 'deployguard backup list --json' names them.",
        )
    return Damaged("the backup does not decrypt to its end", hint="Do not restore it: use another one.")


def _pyrage() -> Any:  # noqa: ANN401
    try:
        import pyrage
        import zstandard  # noqa: F401 - told now and not after an hour of dumping
    except ImportError:
        raise Refused(
            "pyrage and zstandard, which encrypted backups need, are not installed",
            hint="Install them: pip install 'deployguard[backup]'.",
        ) from None
    return pyrage

"""A file sent in parts, so that whoever comes after a crash sends only what is missing.

Sources: docs.aws.amazon.com/AmazonS3/latest/API: UploadPart, ListParts; .../userguide/qfacts.
"""

import base64
import hashlib
import io
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployguard.backup.base import Pulse
from deployguard.backup.stored import CHUNK

_PART = 16 * 1024 * 1024
_MOST_PARTS = 10_000
_AT_ONCE = 4
"""Parts under way at a time; each is read from the file as it is sent."""


@dataclass(frozen=True)
class Upload:
    """One file on its way to one key.

    Attributes:
        where: bucket, key and number of the upload, as each call names them.
    """

    client: Any
    where: Mapping[str, str]
    path: Path
    size: int
    sent: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Parts that are there already, by their numbers."""

    @property
    def part(self) -> int:
        """Bytes of each part but the last: the same for every try."""
        return max(_PART, math.ceil(self.size / _MOST_PARTS / CHUNK) * CHUNK)

    def carry_out(self, pulse: Pulse) -> None:
        """Send what is missing, and have the parts put together."""
        numbers = range(1, math.ceil(self.size / self.part) + 1)
        parts: list[dict[str, Any]] = []
        with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="upload") as pool:
            try:
                for part in pool.map(self._send, numbers):
                    parts.append(part)
                    pulse("sending the backup", min(self.size, len(parts) * self.part), self.size)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        self.client.complete_multipart_upload(**self.where, MultipartUpload={"Parts": parts})

    def _send(self, number: int) -> dict[str, Any]:
        section = _Section(self.path, (number - 1) * self.part, min(self.part, self.size - (number - 1) * self.part))
        with section:
            digest = _sha256(section)
            there = self.sent.get(number)
            if there is None or there["Size"] != section.length or there.get("ChecksumSHA256", digest) != digest:
                there = self.client.upload_part(**self.where, PartNumber=number, Body=section, ChecksumSHA256=digest)
            return {"PartNumber": number, "ETag": there["ETag"], "ChecksumSHA256": digest}


class _Section(io.RawIOBase):
    """Some bytes of a file, as a file: no part is in memory as a whole."""

    def __init__(self, path: Path, begin: int, length: int) -> None:
        self._file, self._begin, self.length = path.open("rb", buffering=0), begin, length
        self._file.seek(begin)

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._file.tell() - self._begin

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self.tell(), io.SEEK_END: self.length}[whence]
        return self._file.seek(self._begin + base + offset) - self._begin

    def readinto(self, buffer: Any) -> int:  # noqa: ANN401
        view = memoryview(buffer)[: max(0, self.length - self.tell())]
        return self._file.readinto(view) or 0

    def close(self) -> None:
        self._file.close()
        super().close()


def _sha256(section: _Section) -> str:
    digest, buffer = hashlib.sha256(), bytearray(CHUNK)
    while count := section.readinto(buffer):
        digest.update(memoryview(buffer)[:count])
    section.seek(0)
    return encoded(digest.digest())


def encoded(digest: bytes) -> str:
    """A digest as the API has it."""
    return base64.b64encode(digest).decode()

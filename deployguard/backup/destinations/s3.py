"""S3 and what speaks like it: the dump in parts, read back whole, and its manifest last.

Sources: docs.aws.amazon.com/AmazonS3/latest/API: GetObject, PutObjectRetention, ListObjectVersions,
ListMultipartUploads; .../userguide/object-lock.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from deployguard.backup.base import Pulse
from deployguard.backup.destinations.s3_errors import explained, library
from deployguard.backup.destinations.s3_upload import Upload, encoded
from deployguard.backup.durable import PARTIAL, abandoned, create, remove, scratch, to_disk
from deployguard.backup.durable import explained as on_disk
from deployguard.backup.manifest import LONGEST, NAME, Manifest, damaged
from deployguard.backup.stored import CHUNK, Counted
from deployguard.errors import Damaged, StepFailed, UsageError
from deployguard.secret import Secret

_DUMP = "database."
"""Begins the name of every dump. What begins otherwise is somebody else's, and never removed."""
_SECONDS = 60
_TRIES = 5
"""Times that a request is made, and that a download which breaks off is gone on with."""
_STALE = timedelta(days=7)
"""After so long nobody is still at it: another machine's upload cannot be asked whether it is alive."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


@dataclass(frozen=True)
class S3:
    """Backups as keys under a prefix of a bucket.

    Attributes:
        prefix: ends in a slash, or is empty.
        env: credentials, region and endpoint by the names that AWS's own tools give them; what is
            not among them is found as these tools find it.
        lock: mode in which a backup is locked until it expires; empty for none.
    """

    bucket: str
    prefix: str
    staging: Path
    env: Mapping[str, str | Secret] = field(default_factory=dict, repr=False)
    lock: str = ""

    @classmethod
    def at(cls, place: str, *, staging: Path, env: Mapping[str, str | Secret], lock: str) -> "S3":
        """The one that `bucket/prefix` names.

        Raises:
            UsageError: that is no name of a bucket.
            Refused: boto3 is not installed.
        """
        bucket, _, prefix = place.rstrip("/").partition("/")
        if not _BUCKET.fullmatch(bucket):
            raise UsageError(f"s3://{place} names no bucket", hint="Write s3://bucket/prefix.")
        library("boto3")
        return cls(bucket, f"{prefix}/" if prefix else "", staging, env, lock)

    def where(self, name: str) -> str:
        """Its URL."""
        return f"s3://{self.bucket}/{self.prefix}{name}"

    @cached_property
    def _client(self) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        def given(*names: str) -> str | None:
            found = next((self.env[name] for name in names if name in self.env), None)
            return found.reveal() if isinstance(found, Secret) else found

        config = library("botocore.config").Config(
            connect_timeout=_SECONDS, read_timeout=_SECONDS, retries={"total_max_attempts": _TRIES, "mode": "standard"},
            # each part and the whole are compared by SHA-256; other storage does not know the newer checksums
            request_checksum_calculation="when_required", response_checksum_validation="when_required",
        )  # fmt: skip
        with self._explaining("s3:ListBucket"):
            session = library("boto3").session.Session(
                aws_access_key_id=given("AWS_ACCESS_KEY_ID"), aws_secret_access_key=given("AWS_SECRET_ACCESS_KEY"),
                aws_session_token=given("AWS_SESSION_TOKEN"), region_name=given("AWS_REGION", "AWS_DEFAULT_REGION"),
                profile_name=given("AWS_PROFILE"),
            )  # fmt: skip
            return session.client("s3", endpoint_url=given("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"), config=config)

    def _explaining(self, action: str) -> AbstractContextManager[None]:
        return explained(f"s3://{self.bucket}/{self.prefix}", action)

    def _key(self, name: str, file: str = "") -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": f"{self.prefix}{name}/{file}"}

    def _split(self, key: str) -> tuple[str, str]:
        name, _, file = key.removeprefix(self.prefix).partition("/")
        return name, file

    def prepare(self, name: str) -> None:
        """See that the bucket takes uploads from us, and locks where that is asked; forget what an earlier try sent."""
        with self._explaining("s3:PutObject"):
            self._abort_uploads(name)
            # the one way to know of the right to write without writing
            begun = self._client.create_multipart_upload(**self._key(name, _DUMP))
            self._client.abort_multipart_upload(**self._key(name, _DUMP), UploadId=begun["UploadId"])
        if self.lock:
            with self._explaining("s3:GetBucketObjectLockConfiguration"):
                self._client.get_object_lock_configuration(Bucket=self.bucket)

    def _pages(self, operation: str, field_: str, prefix: str) -> Iterator[dict[str, Any]]:
        pages = self._client.get_paginator(operation).paginate(Bucket=self.bucket, Prefix=prefix)
        return (entry for page in pages for entry in page.get(field_, ()))

    def _found(self, name: str = "") -> dict[str, dict[str, Any]]:
        """Entries by backup and file; of all backups where no name is given."""
        found: dict[str, dict[str, Any]] = {}
        with self._explaining("s3:ListBucket"):
            for entry in self._pages("list_objects_v2", "Contents", self.prefix + (f"{name}/" if name else "")):
                owner, file = self._split(entry["Key"])
                found.setdefault(owner, {})[file] = entry
        return found

    def names(self) -> list[str]:
        """Names that have a manifest."""
        return sorted(name for name, files in self._found().items() if NAME in files)

    def unfinished(self, now: datetime) -> list[str]:
        """Drafts that were left on this machine; dumps and uploads that nobody has finished within a week."""
        dumps = [entry for files in self._found().values() if NAME not in files for entry in files.values()]
        since = {entry["Key"]: entry["LastModified"] for entry in dumps}
        with self._explaining("s3:ListBucketMultipartUploads"):
            since |= {u["Key"]: u["Initiated"] for u in self._pages("list_multipart_uploads", "Uploads", self.prefix)}
        stale = (self._split(key) for key, begun in since.items() if now - begun > _STALE)
        drafts = {path.name.removesuffix(PARTIAL) for path in self.staging.glob(f"*{PARTIAL}")}
        left = {path.name.removesuffix(PARTIAL) for path in abandoned(self.staging)}
        return sorted(left | {name for name, file in stale if file.startswith(_DUMP)} - (drafts - left))

    def manifest(self, name: str) -> bytes:
        """The manifest's bytes."""
        errors = library("botocore.exceptions")
        with self._explaining("s3:GetObject"):
            try:
                data: bytes = self._client.get_object(**self._key(name, NAME))["Body"].read(LONGEST)
            except errors.ClientError as error:
                if error.response["Error"]["Code"] != "NoSuchKey":
                    raise
            else:
                return data
        raise damaged(self.where(name), "has no manifest that can be read, so it is no backup")

    def fetched(self, manifest: Manifest) -> int:
        """All."""
        return manifest.stored.bytes

    @contextmanager
    def files(self, manifest: Manifest, pulse: Pulse) -> Iterator[Path]:
        """A copy of the files that is removed at the end."""
        name, stored = manifest.id, manifest.stored
        found = self._found(name).get(name, {})
        if found.keys() - {NAME} != {stored.name}:
            what = "has foreign files in it" if stored.name in found else f"lacks {stored.name}"
            raise damaged(self.where(name), what)
        if found[stored.name]["Size"] != stored.bytes:
            raise damaged(self.where(name), f"has a dump that is not {stored.bytes:,} bytes long")
        with scratch(self.staging / f"{name}.fetched{PARTIAL}") as folder:
            path = folder / stored.name
            with on_disk(path), create(path) as stream:
                for chunk in self._read(manifest, "fetching the backup", pulse):
                    stream.write(chunk)
                to_disk(stream)
            yield folder

    def _read(self, manifest: Manifest, label: str, pulse: Pulse) -> Iterator[bytes]:
        """The dump as it lies there, gone on with where the connection breaks off.

        Raises:
            Damaged: it is not what the manifest says.
        """
        broken = library("botocore.exceptions")
        counted, failed = Counted(label, pulse, manifest.stored.bytes), 0
        with self._explaining("s3:GetObject"):
            while counted.bytes < manifest.stored.bytes:
                begun = counted.bytes
                try:
                    for chunk in self._from(manifest, begun):
                        counted.take(chunk)
                        yield chunk
                except (broken.ResponseStreamingError, broken.ReadTimeoutError, broken.IncompleteReadError):
                    failed = failed + 1 if counted.bytes == begun else 0
                    if failed == _TRIES:
                        raise
        if counted.sha256 != manifest.stored.sha256:
            raise damaged(self.where(manifest.id), "has a dump that was changed")

    def _from(self, manifest: Manifest, begin: int) -> Iterator[bytes]:
        key = self._key(manifest.id, manifest.stored.name)
        body = self._client.get_object(**key, Range=f"bytes={begin}-")["Body"]
        with body:
            yield from body.iter_chunks(CHUNK)

    def publish(self, draft: Path, manifest: Manifest, pulse: Pulse) -> None:
        """Send the dump, read it back, lock it where that is asked; the manifest is the last act.

        Parts that an earlier try has sent are not sent again: they were cut from the same
        draft, and a new draft begins by forgetting them.
        """
        name, stored = manifest.id, manifest.stored
        if not self._holds(manifest, pulse):
            self._upload(draft / stored.name, manifest, pulse)
            if not self._holds(manifest, pulse):
                self._remove_versions(name)
                raise StepFailed(
                    f"{self.where(name)} gives back other bytes than it was given; they were removed",
                    hint="Try again: the backup is complete on this machine. If it happens twice, use other storage.",
                )
        self._lock(manifest, stored.name)
        data = (draft / NAME).read_bytes()
        with self._explaining("s3:PutObject"):
            digest = encoded(hashlib.sha256(data).digest())
            self._client.put_object(**self._key(name, NAME), Body=data, ChecksumSHA256=digest)
        self._lock(manifest, NAME)
        remove(draft)

    def _upload(self, path: Path, manifest: Manifest, pulse: Pulse) -> None:
        key = self._key(manifest.id, path.name)
        with self._explaining("s3:PutObject"):
            uploads = self._pages("list_multipart_uploads", "Uploads", key["Key"])
            begun = next((u["UploadId"] for u in uploads if u["Key"] == key["Key"]), None)
            if begun is None:
                begun = self._client.create_multipart_upload(**key, ChecksumAlgorithm="SHA256")["UploadId"]
            where = {**key, "UploadId": begun}
            pages = self._client.get_paginator("list_parts").paginate(**where)
            sent = {part["PartNumber"]: part for page in pages for part in page.get("Parts", ())}
            Upload(self._client, where, path, manifest.stored.bytes, sent).carry_out(pulse)

    def _holds(self, manifest: Manifest, pulse: Pulse) -> bool:
        """Whether the dump is there, read to its last byte."""
        entry = self._found(manifest.id).get(manifest.id, {}).get(manifest.stored.name)
        if entry is None or entry["Size"] != manifest.stored.bytes:
            return False
        try:
            for _ in self._read(manifest, "reading the backup back", pulse):
                pass
        except Damaged:
            return False
        return True

    def _lock(self, manifest: Manifest, file: str) -> None:
        if not self.lock:
            return
        until = datetime.fromisoformat(manifest.expires)
        with self._explaining("s3:PutObjectRetention"):
            self._client.put_object_retention(
                **self._key(manifest.id, file), Retention={"Mode": self.lock.upper(), "RetainUntilDate": until}
            )

    def remove(self, name: str) -> None:
        """Every version of it, the manifest first, and what was begun of it here and there."""
        draft = self.staging / (name + PARTIAL)
        if draft.exists():
            remove(draft)
        with self._explaining("s3:AbortMultipartUpload"):
            self._abort_uploads(name)
        self._remove_versions(name)

    def _abort_uploads(self, name: str) -> None:
        for upload in self._pages("list_multipart_uploads", "Uploads", f"{self.prefix}{name}/{_DUMP}"):
            where = {"Bucket": self.bucket, "Key": upload["Key"], "UploadId": upload["UploadId"]}
            self._client.abort_multipart_upload(**where)

    def _remove_versions(self, name: str) -> None:
        """Without its versions named, a bucket that keeps them would only hide what is to be destroyed."""
        with self._explaining("s3:ListBucketVersions"):
            found = sorted(self._versions(name), key=lambda version: self._split(version["Key"])[1] != NAME)
        with self._explaining("s3:DeleteObjectVersion"):
            for version in found:
                where = {"Bucket": self.bucket, "Key": version["Key"]}
                if "VersionId" in version:
                    where["VersionId"] = version["VersionId"]
                self._client.delete_object(**where)

    def _versions(self, name: str) -> list[dict[str, Any]]:
        errors, prefix = library("botocore.exceptions"), f"{self.prefix}{name}/"
        try:
            found = [*self._pages("list_object_versions", "Versions", prefix),
                     *self._pages("list_object_versions", "DeleteMarkers", prefix)]  # fmt: skip
        except errors.ClientError as error:
            # some storage keeps no versions, and says so with this
            if error.response["Error"]["Code"] != "NotImplemented":
                raise
            found = list(self._pages("list_objects_v2", "Contents", prefix))
        return [v for v in found if self._split(v["Key"])[1].startswith((NAME, _DUMP))]

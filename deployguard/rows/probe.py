"""Asks an application's fields what they do, from inside the application's own interpreter.

Runs as a script there, so it may use the standard library and Django only, and nothing newer
than Python 3.8. Reads one JSON request from stdin; writes one line, `NONCE ANSWER`, to what was
stdout at the start. Everything the application prints goes to stderr instead.

A field counts as encrypted by its behaviour: it stores a Fernet token for a sample, or
something that differs each time and still reads back. Its class and package are only reported.
Nothing here opens a database connection or reads a row, and no message holds a value: an
exception's text may quote a key, so only its class, place and the names in it are told.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import datetime as dt
import decimal
import functools
import hashlib
import hmac
import importlib
import json
import os
import re
import runpy
import sys
import sysconfig
import traceback
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Dict, NamedTuple  # noqa: UP035 - Python 3.8

# Django comes from the application and is untyped here; these names say what is meant.
Model = Any
Field = Any
Value = Any
Fernet = Any
Json = Dict[str, Any]  # noqa: UP006 - evaluated, and Python 3.8 has no dict[...]

# The ways through which values get into a token or out of one; the first that exists is watched.
_SEALING = ("_encrypt_from_parts", "encrypt")
_OPENING = ("_decrypt_data", "decrypt")
_FERNET_VERSION = 0x80
_FERNET_SHORTEST = 73  # version, time, IV, one block, HMAC: 1 + 8 + 16 + 16 + 32
_FERNET_FRAME = 57
_AES_BLOCK = 16
_KEY_LENGTH = 32
# Packages that take a list of keys in their settings, by the module that reads the value.
_TAKE_KEY_LISTS = ("encrypted_model_fields", "fernet_fields", "encrypted_fields")
_SETTING_NAME = re.compile(r"(?<![^\s'\"`(])[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+(?![^\s'\"`).,:;])")
_KEY_SETTING = re.compile(r"KEY|SECRET|SALT|CRYPT|FERNET")


class Finding(NamedTuple):
    """An encrypted field, and the sample by which it was found."""

    model: Model
    field: Field
    alias: str
    sample: Value
    stored: Value
    form: str = "other"
    payload: bytes | None = None
    keys: tuple[Fernet, ...] = ()
    lists_keys: bool = False

    @property
    def name(self) -> str:
        """The field as the host knows it: "app.Model.field"."""
        return name_of(self.model, self.field)


# -- the application, as manage.py prepares it


class _Prepared(BaseException):
    """manage.py has come to the point where it would run a command."""


def start(manage: str) -> None:
    """Bring Django up as `manage.py` would: its path, its environment files, its settings.

    manage.py itself is run, up to its command, because it is there that applications load
    `.env` files, extend the path or install django-configurations.
    """
    sys.path[0] = str(Path(manage).parent)
    import django
    from django.core.management import ManagementUtility

    def stop(_: object) -> None:
        raise _Prepared

    execute, ManagementUtility.execute = ManagementUtility.execute, stop
    sys.argv = [manage, "check"]
    try:
        runpy.run_path(manage, run_name="__main__")
    except _Prepared:
        pass
    finally:
        ManagementUtility.execute = execute
    django.setup()


def problem(error: BaseException, root: str) -> Json:
    """What may be told of an exception: class, the application's deepest line, names in capitals."""
    found: Json = {"class": type(error).__name__, "file": "", "line": 0}
    frames = [(frame.filename, frame.lineno or 0) for frame in traceback.extract_tb(error.__traceback__)]
    if isinstance(error, SyntaxError) and error.filename:
        frames.append((error.filename, error.lineno or 0))
    for filename, line in frames:
        if _is_own(filename, root):
            found.update(file=os.path.relpath(filename, root), line=line)
    found["module"] = error.name or "" if isinstance(error, ModuleNotFoundError) else ""
    found["names"] = sorted(set(_SETTING_NAME.findall(" ".join(a for a in error.args if isinstance(a, str)))))
    found["missing"] = isinstance(error, KeyError) or type(error).__name__ == "ImproperlyConfigured"
    return found


def _is_own(filename: str, root: str) -> bool:
    installed = ("site-packages", "dist-packages")
    if filename.startswith(sysconfig.get_paths()["stdlib"]) or any(part in filename for part in installed):
        return False
    return filename.startswith(os.path.join(root, ""))  # noqa: PTH118 - a prefix with its separator


# -- one field: store, read, watch


def meta(model: Model) -> Value:
    """Django's documented model API stands behind an underscore."""
    return model._meta  # noqa: SLF001 - see above


def name_of(model: Model, field: Field) -> str:
    """A field's full name: "app.Model.field"."""
    return f"{meta(model).label}.{field.name}"


class Watch:
    """The Fernet objects that a field used: what they sealed, and which of them were tried to open."""

    def __init__(self) -> None:
        self.sealed: list[tuple[Fernet, bytes]] = []
        self.tried: list[Fernet] = []
        self.lists = False


@contextlib.contextmanager
def watching() -> Iterator[Watch]:
    """While inside, note each use of `cryptography.fernet`; afterwards it is as before."""
    watch = Watch()
    try:
        from cryptography import fernet
    except ImportError:
        yield watch
        return
    single, multi = fernet.Fernet, fernet.MultiFernet
    sealing, opening = (next(name for name in names if hasattr(single, name)) for names in (_SEALING, _OPENING))
    originals = [(single, sealing), (single, opening), (multi, "decrypt")]
    kept = [getattr(owner, name) for owner, name in originals]

    def seal(self: Fernet, data: bytes, *rest: Value, **named: Value) -> bytes:
        watch.sealed.append((self, bytes(data)))
        return bytes(kept[0](self, data, *rest, **named))

    def unseal(self: Fernet, *rest: Value, **named: Value) -> bytes:
        watch.tried.append(self)
        return bytes(kept[1](self, *rest, **named))

    def unseal_any(self: Fernet, *rest: Value, **named: Value) -> bytes:
        watch.lists = True
        return bytes(kept[2](self, *rest, **named))

    replace(originals, [seal, unseal, unseal_any])
    try:
        yield watch
    finally:
        replace(originals, kept)


def replace(methods: list[tuple[Value, str]], by: list[Callable[..., bytes]]) -> None:
    """Put other functions in the place of methods."""
    for (owner, name), function in zip(methods, by):  # noqa: B905 - Python 3.8 has no strict=
        setattr(owner, name, function)


def store(model: Model, field: Field, value: Value, alias: str) -> Value:
    """What the field hands to the database driver: str, bytes, None, or the driver's own object.

    `pre_save` is asked only where the application or a package wrote it: Django's own ones fill in
    the time or write files.
    """
    from django.db import connections

    if not definer(type(field), "pre_save").startswith("django."):
        instance = model()
        setattr(instance, field.attname, value)
        value = field.pre_save(instance, False)
    stored = field.get_db_prep_save(value, connection=connections[alias])
    for wrapped in ("adapted", "obj"):  # psycopg2's and psycopg 3's Binary
        stored = getattr(stored, wrapped, stored)
    return bytes(stored) if isinstance(stored, (memoryview, bytearray)) else stored


def read(field: Field, stored: Value, alias: str) -> Value:
    """What the field makes of a stored value when a row is read."""
    from django.db import connections

    converters = field.get_db_converters(connections[alias])
    if not converters:
        return field.to_python(stored)
    for convert in converters:
        stored = convert(stored, field.cached_col, connections[alias])
    return stored


def reads_as(field: Field, stored: Value, alias: str, expected: Value) -> bool:
    """Whether a stored value reads as `expected`. Whatever the field raises means no."""
    try:
        return same(read(field, stored, alias), expected)
    except Exception:
        return False


def same(value: Value, expected: Value) -> bool:
    """Equality, but for datetimes: some packages lose the zone on the way, which is theirs to answer for."""
    if isinstance(value, dt.datetime) and isinstance(expected, dt.datetime):
        return value.replace(tzinfo=None) == expected.replace(tzinfo=None)
    return bool(value == expected)


def definer(cls: type, method: str) -> str:
    """The module of the class that a method is inherited from."""
    return next((base.__module__ for base in cls.__mro__ if method in vars(base)), "")


def samples(field: Field) -> list[Value]:
    """Values to try, the most fitting first.

    A field over TextField may wrap anything, so the others follow. None has a value of its own
    type that another field of the same kind would store as the same text by accident.
    """
    from django.conf import settings
    from django.db import models

    zone = dt.timezone.utc if settings.USE_TZ else None  # noqa: UP017 - Python 3.8
    text = "Zoë 7 sample"
    fitting: list[tuple[type, Value]] = [
        (models.EmailField, "sample.7@example.org"),
        (models.URLField, "https://example.org/sample/7"),
        (models.GenericIPAddressField, "192.0.2.77"),
        (models.BooleanField, True),
        (models.IntegerField, 7071),
        (models.FloatField, 7.5),
        (models.DecimalField, decimal.Decimal("7.5")),
        (models.DateTimeField, dt.datetime(2001, 2, 3, 4, 5, 6, tzinfo=zone)),
        (models.DateField, dt.date(2001, 2, 3)),
        (models.TimeField, dt.time(4, 5, 6)),
        (models.DurationField, dt.timedelta(seconds=7071)),
        (models.UUIDField, uuid.UUID("7b0e8f5e-3d5c-4a39-9d6e-0d1a4b3c2f17")),
        (models.BinaryField, b"\x00sample 7\xff"),
    ]
    if hasattr(models, "JSONField"):
        fitting.append((models.JSONField, {"sample": text}))
    first = [value for kind, value in fitting if isinstance(field, kind)][:1]
    others: list[Value] = [text, {"sample": text}, 7071]
    return first + [value for value in others if value not in first]


def examine(model: Model, field: Field, alias: str) -> tuple[Finding | None, str]:
    """The field as a finding if it encrypts, and else, where it does something odd, what."""
    odd, unread = "", None
    for sample in samples(field):
        try:
            with watching() as watch:
                stored, again = store(model, field, sample, alias), store(model, field, sample, alias)
        except Exception as error:
            odd = odd or f"could not be asked what it stores ({type(error).__name__})"
            continue
        if not isinstance(stored, (str, bytes)):
            return None, ""
        back = reads_as(field, stored, alias, sample)
        if back and stored == again:
            return None, _transformed(field, sample, stored)
        if back or is_fernet(stored):
            finding = _finding(Finding(model, field, alias, sample, stored), watch)
            if back:
                return finding, ""
            unread = unread or finding
        odd = odd or "stores something it does not read back (a hash?)"
    return unread, "" if unread else odd


def _transformed(field: Field, sample: Value, stored: Value) -> str:
    own = not type(field).__module__.startswith("django.")
    plain = sample if isinstance(sample, str) else ""
    visible = plain in (stored if isinstance(stored, str) else stored.decode("utf-8", "replace"))
    return "changes what it stores, the same way each time: not taken for encryption" if own and not visible else ""


def _finding(seen: Finding, watch: Watch) -> Finding:
    """Fill in the form, and the keys by offering a token that none of them opens, so that all are tried."""
    if not is_fernet(seen.stored) or not watch.sealed:
        return seen._replace(form="fernet" if is_fernet(seen.stored) else "other")
    primary, payload = watch.sealed[-1]
    with watching() as tries:
        reads_as(seen.field, foreign_token(payload, seen.stored), seen.alias, seen.sample)
    keys = {key_of(each): each for each in [primary, *tries.tried]}
    return seen._replace(form="fernet", payload=payload, keys=tuple(keys.values()), lists_keys=tries.lists)


def foreign_token(payload: bytes, like: Value) -> Value:
    """A token under a fresh key."""
    from cryptography.fernet import Fernet as Plain

    return as_stored(Plain(Plain.generate_key()).encrypt(payload), like)


def as_stored(token: bytes, like: Value) -> Value:
    """A token in the type that the field stores."""
    return token.decode("ascii") if isinstance(like, str) else token


def is_fernet(stored: Value) -> bool:
    """Whether a whole stored value has the form of a Fernet token (Fernet spec, "Token Format")."""
    if not isinstance(stored, (str, bytes)):
        return False
    text = stored.encode("utf-8") if isinstance(stored, str) else stored
    try:
        raw = base64.urlsafe_b64decode(text)
    except (binascii.Error, ValueError):
        return False
    framed = len(raw) >= _FERNET_SHORTEST and (len(raw) - _FERNET_FRAME) % _AES_BLOCK == 0
    return framed and raw[0] == _FERNET_VERSION and base64.urlsafe_b64encode(raw) == text


# -- keys


def key_of(fernet: Fernet) -> bytes:
    """The key inside a Fernet object, in the form it is written in."""
    halves = (fernet._signing_key, fernet._encryption_key)  # noqa: SLF001 - nothing public holds them
    return base64.urlsafe_b64encode(b"".join(halves))


def derivation(finding: Finding) -> str:
    """How the first key came to be: as it stands in the settings or the environment, or derived."""
    if not finding.keys:
        return "other"
    key = key_of(finding.keys[0])
    if key in _written_keys():
        return "raw"
    if key in _hkdf_keys():
        return "hkdf"
    return "pbkdf2" if key in _pbkdf2_keys() else "other"


def derived_from(finding: Finding, way: str) -> list[str]:
    """Names of the settings that a key comes from, where a package derives it."""
    from django.conf import settings

    modules = {base.__module__.split(".")[0] for base in type(finding.field).__mro__}
    if way == "hkdf":
        names = ["FERNET_KEYS"] if getattr(settings, "FERNET_KEYS", None) else ["SECRET_KEY"]
    elif way == "pbkdf2":
        names = ["SECRET_KEY", "SALT_KEY"]
    elif "django_cryptography" in modules and getattr(finding.field, "key", None) is None:
        # Source: django-cryptography, conf.py, which puts its own values into the settings
        own = [name for name in ("CRYPTOGRAPHY_KEY", "CRYPTOGRAPHY_SALT") if settings.is_overridden(name)]
        names = own if "CRYPTOGRAPHY_KEY" in own else [*own, "SECRET_KEY"]
    else:
        names = []
    return names


@functools.lru_cache
def _written_keys() -> frozenset[bytes]:
    from django.conf import settings

    texts = list(os.environ.values())
    for name in dir(settings):
        if name.isupper():
            texts.extend(_texts(getattr(settings, name)))
    keys = set()
    for text in texts:
        with contextlib.suppress(ValueError):
            raw = base64.urlsafe_b64decode(text.strip())
            if len(raw) == _KEY_LENGTH:
                keys.add(base64.urlsafe_b64encode(raw))
    return frozenset(keys)


def _texts(value: Value) -> list[str]:
    if isinstance(value, bytes):
        return [value.decode("utf-8", "replace")]
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [text for each in value for text in _texts(each)]
    return [value] if isinstance(value, str) else []


@functools.lru_cache
def _hkdf_keys() -> frozenset[bytes]:
    """Source: django-fernet-fields, hkdf.py; written out because its module need not be there."""
    from django.conf import settings

    keys = set()
    for text in _texts(getattr(settings, "FERNET_KEYS", None) or [settings.SECRET_KEY]):
        extracted = hmac.digest(b"django-fernet-fields-hkdf-salt", text.encode("utf-8"), "sha256")
        # one block of HKDF-Expand is all that 32 bytes need (RFC 5869, 2.3)
        keys.add(base64.urlsafe_b64encode(hmac.digest(extracted, b"django-fernet-fields\x01", "sha256")))
    return frozenset(keys)


@functools.lru_cache
def _pbkdf2_keys() -> frozenset[bytes]:
    """Source: django-fernet-encrypted-fields, fields.py."""
    from django.conf import settings

    salts = _texts(getattr(settings, "SALT_KEY", None))
    secrets = _texts([settings.SECRET_KEY, *getattr(settings, "SECRET_KEY_FALLBACKS", [])])
    derived = [
        hashlib.pbkdf2_hmac("sha256", secret.encode("utf-8"), salt.encode("utf-8"), 100_000, _KEY_LENGTH)
        for secret in secrets
        for salt in salts
    ]
    return frozenset(base64.urlsafe_b64encode(key) for key in derived)


def rotates(finding: Finding) -> bool:
    """Whether tokens of an older key are read too: tried where there is one, else by how the field reads."""
    if len(finding.keys) > 1:
        older = [as_stored(key.encrypt(finding.payload), finding.stored) for key in finding.keys[1:]]
        return all(reads_as(finding.field, token, finding.alias, finding.sample) for token in older)
    reader = definer(type(finding.field), "from_db_value").split(".")[0]
    return bool(finding.keys) and (finding.lists_keys or reader in _TAKE_KEY_LISTS)


# -- all fields


@functools.lru_cache
def survey() -> tuple[tuple[Finding, ...], tuple[str, ...]]:
    """Every encrypted column once, and notes on what was looked at and left out."""
    from django.apps import apps

    found: dict[tuple[str, str, str], Finding] = {}
    notes: list[str] = []
    # managed models first: an unmanaged one over the same table is a second view of it;
    # a proxy has no columns of its own
    for model in sorted(apps.get_models(include_auto_created=True), key=lambda each: not meta(each).managed):
        alias = write_alias(model)
        for field in filter(_worth_asking, meta(model).local_concrete_fields):
            finding, odd = examine(model, field, alias)
            name = name_of(model, field)
            place = (alias, meta(model).db_table, field.column)
            if odd and not type(field).__module__.startswith("django."):
                notes.append(f"{name} {odd}")
            elif finding and place in found:
                notes.append(f"{name} is the same column as {found[place].name}")
            elif finding:
                found[place] = finding
    return tuple(found.values()), tuple(notes)


def write_alias(model: Model) -> str:
    """The database that the application writes this model to."""
    from django.db import router

    return str(router.db_for_write(model))


def _worth_asking(field: Field) -> bool:
    from django.db import models

    generated = getattr(field, "generated", False)
    return not (field.is_relation or generated or isinstance(field, (models.FileField, models.AutoField)))


def describe(finding: Finding) -> Json:
    """A column as the host's `EncryptedColumn` has it."""
    from django.db import connections

    options, field = meta(finding.model), finding.field
    package, version = package_of(type(field))
    kind = field.db_type(connections[finding.alias]) or ""
    way = derivation(finding)
    width = re.search(r"(?:char|varbinary)\w*\s*\((\d+)\)", kind, re.IGNORECASE)
    return {
        "table": options.db_table,
        "column": field.column,
        "key": [part.column for part in getattr(options, "pk_fields", None) or [options.pk]],
        "width": int(width.group(1)) if width else None,
        "empty_becomes": empty_becomes(finding),
        "reads_plaintext": _reads_plaintext(finding),
        "rotates": rotates(finding),
        "field": finding.name,
        "field_class": f"{type(field).__module__}.{type(field).__qualname__}",
        "searched": searched(finding.model, field),
        "database": finding.alias,
        "package": package,
        "package_version": version,
        "derivation": way,
        "derived_from": derived_from(finding, way),
        "form": finding.form,
        "stored_as": "text" if isinstance(finding.stored, str) else "binary",
        "keys": len(finding.keys),
        "nullable": bool(field.null),
        "managed": bool(options.managed),
        "hides_rows": hides_rows(finding.model),
        "self_reads": reads_as(field, finding.stored, finding.alias, finding.sample),
    }


def empty_becomes(finding: Finding) -> str:
    """What is stored for `''`. A token counts only if it holds the empty string itself and reads as one.

    A field that wraps JSON seals `""` with its quotes, and could not read a token of nothing;
    no more could a field of booleans.
    """
    try:
        with watching() as watch:
            stored = store(finding.model, finding.field, "", finding.alias)
    except Exception:
        return "empty"
    if stored is None:
        return "null"
    if finding.form == "other":
        # in a format of its own, where only the field can tell
        sealed = stored not in ("", b"") and reads_as(finding.field, stored, finding.alias, "")
        return "token" if sealed and not wraps_json(finding) else "empty"
    nothing_inside = is_fernet(stored) and watch.sealed and watch.sealed[-1][1] == b""
    return "token" if nothing_inside and reads_as(finding.field, stored, finding.alias, "") else "empty"


def wraps_json(finding: Finding) -> bool:
    """Whether a field gives back what JSON is made of, over whatever column."""
    value = {"sample": "Zoë 7 sample"}
    try:
        stored = store(finding.model, finding.field, value, finding.alias)
    except Exception:
        return False
    return reads_as(finding.field, stored, finding.alias, value)


def _reads_plaintext(finding: Finding) -> bool:
    if finding.payload is None:
        # only text is sure to be stored as it stands
        if not isinstance(finding.sample, str):
            return False
        text = finding.sample.encode("utf-8") if isinstance(finding.stored, bytes) else finding.sample
        return reads_as(finding.field, text, finding.alias, finding.sample)
    plain = finding.payload if isinstance(finding.stored, bytes) else finding.payload.decode("utf-8", "replace")
    return reads_as(finding.field, plain, finding.alias, finding.sample)


def searched(model: Model, field: Field) -> list[str]:
    """Names of what makes the column unique or indexes it; conditions and expressions included."""
    options, name = meta(model), field.name
    found = ["unique"] if field.unique else ["index"] if field.db_index else []
    for option in ("unique_together", "index_together"):
        groups = getattr(options, option, ()) or ()
        found.extend(f"{option}({', '.join(group)})" for group in groups if name in group)
    for each in [*options.indexes, *options.constraints]:
        ordered = [part.lstrip("-") for part in getattr(each, "fields", ()) or ()]
        rest = (getattr(each, part, None) for part in ("expressions", "condition", "check", "include"))
        if name in ordered or any(re.search(rf"\b{re.escape(name)}\b", repr(part)) for part in rest if part):
            found.append(each.name)
    return found


def hides_rows(model: Model) -> bool:
    """Whether the default manager filters, so that a count through it would miss rows."""
    try:
        return bool(model._default_manager.get_queryset().query.where)  # noqa: SLF001 - documented, as _meta is
    except Exception:
        return True


def package_of(cls: type) -> tuple[str, str]:
    """Distribution and version of the nearest class that neither the application nor Django wrote."""
    tops = [base.__module__.split(".")[0] for base in cls.__mro__]
    known = (_distribution_of(top) for top in tops if top not in ("django", "builtins"))
    return next((each for each in known if each[0]), ("", ""))


@functools.lru_cache
def _distribution_of(top: str) -> tuple[str, str]:
    from importlib import metadata

    for each in metadata.distributions():
        listed = (each.read_text("top_level.txt") or "").split()
        if top in listed or any(str(file).startswith(f"{top}/") for file in each.files or ()):
            return str(each.metadata["Name"]), str(each.version)
    return "", ""


# -- requests


def answer_fields(_: Json) -> Json:
    """Every encrypted column."""
    findings, notes = survey()
    return {"fields": [describe(each) for each in findings], "notes": list(notes)}


def answer_seal(request: Json) -> Json:
    """What each field stores for its sample; `text` is what must be inside, where that is known."""
    sealed = {}
    for each in _chosen(request):
        stored = store(each.model, each.field, each.sample, each.alias)
        raw = stored.encode("utf-8") if isinstance(stored, str) else stored
        text = each.sample if isinstance(each.sample, str) and each.payload == each.sample.encode("utf-8") else None
        sealed[each.name] = {"stored": base64.b64encode(raw).decode("ascii"), "text": text, "form": each.form}
    return {"sealed": sealed}


def answer_open(request: Json) -> Json:
    """Whether each field opens each token, and whether its sample is inside. Never the content."""
    findings = {each.name: each for each in survey()[0]}
    return {
        "opened": [_opened(findings.get(item["field"]), base64.b64decode(item["stored"])) for item in request["items"]]
    }


def _opened(finding: Finding | None, token: bytes) -> Json:
    if finding is None:
        return {"opened": False, "sample": False, "error": "no such field"}
    stored = as_stored(token, finding.stored)
    try:
        value = read(finding.field, stored, finding.alias)
    except Exception as error:
        return {"opened": False, "sample": False, "error": type(error).__name__}
    # a field that reads plaintext hands an unknown token back as it is
    return {"opened": value != stored, "sample": same(value, finding.sample), "error": ""}


def answer_settings(request: Json) -> Json:
    """The settings that matter, with keys as keyed digests: comparable by who has the nonce, not readable."""
    import django
    from django.conf import settings

    nonce = bytes.fromhex(request.get("nonce", ""))

    def digest(value: bytes) -> str:
        return hmac.new(nonce, value, "sha256").hexdigest()

    named = {name: _texts(getattr(settings, name)) for name in dir(settings) if _holds_key(name)}
    return {
        "django": django.get_version(),
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "settings": os.environ.get("DJANGO_SETTINGS_MODULE", ""),
        "time_zone": settings.TIME_ZONE,
        "use_tz": settings.USE_TZ,
        "installed_apps": list(settings.INSTALLED_APPS),
        "databases": {alias: _database(each) for alias, each in settings.DATABASES.items()},
        "digests": {name: digest(json.dumps(texts).encode()) for name, texts in named.items() if texts},
        "key_digests": {each.name: [digest(key_of(key)) for key in each.keys] for each in survey()[0]},
    }


def _holds_key(name: str) -> bool:
    return name.isupper() and _KEY_SETTING.search(name) is not None


def _database(given: Json) -> Json:
    return {part.lower(): str(given.get(part) or "") for part in ("ENGINE", "NAME", "HOST", "PORT")}


def answer_keys(request: Json) -> Json:
    """The keys that each field uses, writing key first. Asked for only to encrypt as the application does."""
    return {"keys": {each.name: [key_of(key).decode("ascii") for key in each.keys] for each in _chosen(request)}}


def _chosen(request: Json) -> list[Finding]:
    wanted = request.get("fields")
    return [each for each in survey()[0] if wanted is None or each.name in wanted]


ANSWERS: dict[str, Callable[[Json], Json]] = {
    "fields": answer_fields,
    "seal": answer_seal,
    "open": answer_open,
    "settings": answer_settings,
    "keys": answer_keys,
}


def main() -> None:
    """Answer what stdin asks, then leave at once: an application's threads must not keep us."""
    # the application's prints must not come between: they go to stderr from here on
    line = os.dup(1)
    os.dup2(2, 1)
    asked = json.load(sys.stdin)
    manage = asked["manage"]
    try:
        importlib.import_module("django")
    except ImportError:
        answer: Json = {"problem": {"class": "NoDjango"}}
    else:
        try:
            start(manage)
            answer = {"answers": [ANSWERS[each["do"]](each) for each in asked["requests"]]}
        except BaseException as error:  # the application's SystemExit is an answer too
            answer = {"problem": problem(error, str(Path(manage).parent))}
    with os.fdopen(line, "wb") as out:
        out.write(b"\n" + asked["nonce"].encode() + b" " + json.dumps(answer).encode() + b"\n")
    sys.stderr.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

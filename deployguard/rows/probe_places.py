"""Asks an application where it may keep copies of what its rows hold, and opens its sessions.

Runs as `probe.py` does, beside which it stands: in the application's own interpreter, standard
library and Django only, Python 3.8. No connection to a database is opened. Sessions come from
the host, which read them, and go back to it through the same pipe.
"""

from __future__ import annotations

import importlib
import logging
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Dict  # noqa: UP035 - Python 3.8

Json = Dict[str, Any]  # noqa: UP006 - evaluated, and Python 3.8 has no dict[...]

_AUDITS = {"auditlog": "audit log", "reversion": "versions", "easyaudit": "audit log", "pghistory": "history"}
_DATABASE_CACHE = "django.core.cache.backends.db.DatabaseCache"
_OUTSIDE = {
    "django.core.cache.backends.dummy.DummyCache",
    "django.core.cache.backends.locmem.LocMemCache",
    _DATABASE_CACHE,
}


def answer_places(_: Json) -> Json:
    """Tables by model, sessions, caches, and the folder for what users upload and jobs export."""
    from django.apps import apps
    from django.conf import settings

    models = {model._meta.db_table: model for model in apps.get_models(include_auto_created=True)}  # noqa: SLF001
    notes = _elsewhere(settings)
    media, note = _media(settings)
    return {
        "models": {table: model._meta.label for table, model in models.items()},  # noqa: SLF001 - documented
        "kinds": {table: kind for table, model in models.items() for kind in [_kind(model)] if kind},
        "sessions": [table for table, model in models.items() if _keeps_sessions(model)],
        "caches": [
            str(cache.get("LOCATION", "")) for cache in settings.CACHES.values() if cache["BACKEND"] == _DATABASE_CACHE
        ],
        "media": media,
        "notes": [*notes, *([note] if note else [])],
    }


def _kind(model: Any) -> str:  # noqa: ANN401 - Django is the application's, and untyped here
    options = model._meta  # noqa: SLF001 - documented
    if options.label == "admin.LogEntry":
        return "admin log"
    if any(base.__module__.split(".")[0] == "simple_history" for base in model.__mro__):
        return "history"
    return _AUDITS.get(model.__module__.split(".")[0], "")


def _keeps_sessions(model: Any) -> bool:  # noqa: ANN401
    return any(
        (base.__module__, base.__name__) == ("django.contrib.sessions.base_session", "AbstractBaseSession")
        for base in model.__mro__
    )


def _elsewhere(settings: Any) -> list[str]:  # noqa: ANN401
    notes = [
        f"the cache {alias} ({cache['BACKEND']})"
        for alias, cache in settings.CACHES.items()
        if cache["BACKEND"] not in _OUTSIDE
    ]
    engine = settings.SESSION_ENGINE
    if "django.contrib.sessions" in settings.INSTALLED_APPS and not engine.endswith((".db", ".cached_db")):
        notes.append(f"sessions ({engine})")
    return notes


def _media(settings: Any) -> tuple[str, str]:  # noqa: ANN401
    """The default storage's folder; or its name, where it is none."""
    from django.core.files.storage import FileSystemStorage, default_storage

    if not isinstance(default_storage, FileSystemStorage):
        kind = type(getattr(default_storage, "_wrapped", default_storage))
        return "", f"uploaded files ({kind.__module__}.{kind.__qualname__})"
    # without MEDIA_ROOT it would be the folder that the application happens to be started in
    return (str(default_storage.location), "") if settings.MEDIA_ROOT else ("", "")


def answer_sessions(request: Json) -> Json:
    """The texts in each session, as the application's own session store decodes it; None where it does not."""
    from django.conf import settings

    logging.disable(logging.CRITICAL)  # it would tell of each session that it cannot read
    store = _store(settings.SESSION_ENGINE)
    return {"sessions": [_texts(store, data) for data in request["data"]]}


def _store(engine: str) -> Any:  # noqa: ANN401
    for name in (engine, "django.contrib.sessions.backends.db"):
        found = importlib.import_module(name).SessionStore
        if hasattr(found, "get_model_class"):
            return found()
    return None


def _texts(store: Any, data: str) -> list[str] | None:  # noqa: ANN401
    try:
        session = store.decode(data)
    except Exception:
        return None
    found: list[str] = []
    todo: list[Any] = [session]
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            todo += [*each.keys(), *each.values()]
        elif isinstance(each, (list, tuple, set)):
            todo += each
        elif isinstance(each, str):
            found.append(each)
    # what does not decode is given as an empty session
    return found or None


if __name__ == "__main__":
    # as a module it would stand in the way of one of the application's own
    probe = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("probe.py"))))
    probe.ANSWERS.update(places=answer_places, sessions=answer_sessions)
    probe.main()

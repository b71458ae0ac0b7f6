"""A Django site that keeps copies of what its rows hold, in every way that sites do; on any database product."""

import json
import os
import subprocess
import sys

from checking import SITE, application, write

# what the planted values look like: telling ones, and those that anybody has
PEOPLE = 40
SETTINGS = """
    import json, os
    import pymysql

    pymysql.install_as_MySQLdb()
    SECRET_KEY = "only-for-tests"
    INSTALLED_APPS = [
        "django.contrib.auth", "django.contrib.contenttypes", "django.contrib.sessions", "django.contrib.messages",
        "django.contrib.admin", "simple_history", "auditlog", "reversion", "shop",
    ]
    DATABASES = {"default": json.loads(os.environ["SITE_DATABASE"])}
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    USE_TZ = True
    CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "site_cache"}}
    MEDIA_ROOT = "media"
    # the admin is there for its log only; nobody visits its pages
    SILENCED_SYSTEM_CHECKS = [f"admin.E{number}" for number in (402, 403, 404, 408, 409, 410)]
"""
MODELS = """
    import reversion
    from auditlog.registry import auditlog
    from django.db import models
    from simple_history.models import HistoricalRecords


    @reversion.register()
    class Person(models.Model):
        email = models.CharField(max_length=200)
        nickname = models.CharField(max_length=200, blank=True)
        address = models.JSONField(null=True)
        history = HistoricalRecords()

        def __str__(self):
            return f"{self.nickname} <{self.email}>"


    class Newsletter(models.Model):
        address = models.CharField(max_length=200)
        topic = models.CharField(max_length=200)


    class City(models.Model):
        name = models.CharField(max_length=200, primary_key=True)
        opened = models.DateField(null=True)


    auditlog.register(Person)
"""
FILL = """
    import datetime, json, sys
    import reversion
    from django.contrib.admin.models import CHANGE, LogEntry
    from django.contrib.auth.models import User
    from django.contrib.contenttypes.models import ContentType
    from django.contrib.sessions.backends.db import SessionStore
    from django.core.cache import cache
    from shop.models import City, Newsletter, Person

    towns = ["Gelsenkirchen", "Leverkusen", "Köln"]
    admin = User.objects.create(username="admin")
    for n in range(PEOPLE):
        with reversion.create_revision():
            person = Person.objects.create(
                email=f"Person.{n}@mail{n}.example.org",
                # the last of them nobody else has, and it is a word
                nickname=["", "a", "Grace", "pending", "Wolfgang"][n % 5] if n != 7 else "Quetzalcoatl",
                address={"lines": [f"Große Gasse {n * 37 + 1001}", None], "city": towns[n % 3]},
            )
        LogEntry.objects.create(
            user=admin, content_type=ContentType.objects.get_for_model(Person), object_id=person.pk,
            object_repr=str(person)[:200], action_flag=CHANGE, change_message='[{"changed": {"fields": ["Email"]}}]',
        )
    for n in range(0, PEOPLE, 4):
        Newsletter.objects.create(address=f"person.{n}@MAIL{n}.example.org", topic="Wolfgang")
        session = SessionStore()
        session["basket"] = {"for": [f"Person.{n}@mail{n}.example.org"]}
        session.save()
        cache.set(f"page {n}", {"html": f"<td>Person.{n}@mail{n}.example.org</td>".encode()}, 10**6)
    for name in [*towns, "pending", "Quetzalcoatl"]:
        City.objects.create(name=name, opened=datetime.date(1990, 5, 4))
"""


def database_of(store, folder):
    if store.product == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": str(folder / "site.db")}
    place, _, name = store.url.rpartition("/")
    user, _, address = place.partition("//")[2].partition("@")
    host, _, port = address.partition(":")
    engine = "postgresql" if store.product == "postgresql" else "mysql"
    return {
        "ENGINE": f"django.db.backends.{engine}", "NAME": name, "USER": user, "HOST": host, "PORT": int(port),
    }  # fmt: skip


def build(folder, store):
    """The site with people in it, and with copies of them; beside it what starts it."""
    files = {
        "manage.py": SITE["manage.py"],
        "site_settings.py": SETTINGS, "shop/__init__.py": "", "shop/models.py": MODELS,
        "shop/migrations/__init__.py": "", "fill.py": f"PEOPLE = {PEOPLE}\n" + FILL.replace("\n    ", "\n"),
    }  # fmt: skip
    write(folder, files)
    env = {"SITE_DATABASE": json.dumps(database_of(store, folder)), "PATH": os.environ["PATH"]}
    for words in (["makemigrations", "shop"], ["migrate"], ["createcachetable"]):
        manage(folder, env, *words)
    manage(folder, env, "shell", "--no-imports", input=(folder / "fill.py").read_text("utf-8"))
    return application(folder, **env)


def manage(folder, env, *words, **options):
    done = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=folder,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stderr

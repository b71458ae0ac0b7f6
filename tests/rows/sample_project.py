"""Writes a small Django project with every kind of encrypted field we know, and their look-alikes."""

import sys
import textwrap
from pathlib import Path

from deployguard.rows.application import Application
from deployguard.secret import Secret

NEW_KEY = "Yw3q1eU4kzLQ2b2i8x5fW1m6nC0pR7sT9vXyZaBcDe8="
OLD_KEY = "b0K4mQx7ZrT1uW5yA8cF2hJ6nP9sV3xB7eG0iL4oQ_M="
SECRET_KEY = "sample-only-hkdf-and-pbkdf2-start-from-this"

MANAGE = """
    import os, sys

    if __name__ == "__main__":
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_settings")
        from django.core.management import execute_from_command_line
        execute_from_command_line(sys.argv)
"""

SETTINGS = """
    import os
    print("noise of the application", end="")
    SECRET_KEY = os.environ["SAMPLE_SECRET_KEY"]
    SALT_KEY = "salt"
    FIELD_ENCRYPTION_KEY = os.environ["FIELD_ENCRYPTION_KEY"].split(",")
    INSTALLED_APPS = ["web"]
    DATABASES = {
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "never-created.sqlite3", "PASSWORD": "hidden-pw"},
        "archive": {"ENGINE": "django.db.backends.sqlite3", "NAME": "never-created-2.sqlite3"},
    }
    DATABASE_ROUTERS = ["web.fields.Router"]
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    USE_TZ = True
    TIME_ZONE = "Europe/Berlin"
"""

FIELDS = """
    import hashlib, json, os, zlib
    from django.db import models
    from encrypted_model_fields.fields import EncryptedCharField, decrypt_str, encrypt_str
    from cryptography.fernet import Fernet
    from django.conf import settings


    class Router:
        def db_for_write(self, model, **hints):
            return "archive" if model.__name__ == "Audit" else None


    class CustomEncryptedCharField(EncryptedCharField):
        pass


    class WrappedJson(models.TextField):
        # written by hand: strict on reading, JSON inside the token
        def get_prep_value(self, value):
            return None if value is None else encrypt_str(json.dumps(value)).decode()

        def from_db_value(self, value, expression, connection):
            return None if value is None else json.loads(decrypt_str(value))


    class Narrow(models.CharField):
        # written by hand: one key only, reads plaintext, stays a varchar
        def get_prep_value(self, value):
            return value and Fernet(settings.FIELD_ENCRYPTION_KEY[0]).encrypt(value.encode()).decode()

        def from_db_value(self, value, expression, connection):
            try:
                return value and Fernet(settings.FIELD_ENCRYPTION_KEY[0]).decrypt(value.encode()).decode()
            except Exception:
                return value


    class SealedOnSave(Narrow):
        # encrypts in pre_save, where only the instance is at hand
        def pre_save(self, instance, add):
            return Narrow.get_prep_value(self, getattr(instance, self.attname))

        def get_prep_value(self, value):
            return value


    class SaltedHash(models.CharField):
        def get_prep_value(self, value):
            salt = os.urandom(8).hex()
            return salt + hashlib.sha256((salt + str(value)).encode()).hexdigest()


    class Digest(models.CharField):
        def get_prep_value(self, value):
            return hashlib.sha256(str(value).encode()).hexdigest()


    class Compressed(models.BinaryField):
        def get_db_prep_save(self, value, connection):
            return None if value is None else zlib.compress(str(value).encode() + b"." * 200)

        def from_db_value(self, value, expression, connection):
            return value and zlib.decompress(value).decode().rstrip(".")
"""

MODELS = """
    from django.db import models
    from django_cryptography.fields import encrypt
    import encrypted_fields.fields as salted
    import encrypted_model_fields.fields as emf
    import fernet_fields
    from web.fields import *


    class Profile(models.Model):
        name = models.CharField(max_length=40, unique=True)
        homepage = models.URLField()
        joined = models.DateTimeField(auto_now_add=True)
        avatar = models.FileField()
        settings = models.JSONField(default=dict)
        balance = models.DecimalField(max_digits=8, decimal_places=2)
        email = emf.EncryptedEmailField(unique=True, db_column="E-Mail")
        nick = CustomEncryptedCharField(max_length=50, null=True)
        bio = emf.EncryptedTextField()
        born = emf.EncryptedDateField(null=True)
        seen = emf.EncryptedDateTimeField(null=True)
        age = emf.EncryptedIntegerField(null=True)
        member = emf.EncryptedBooleanField(default=False)

        class Meta:
            indexes = [models.Index(fields=["-nick"], name="by_nick")]
            constraints = [
                models.UniqueConstraint(fields=["nick", "name"], name="one_nick"),
                models.CheckConstraint(condition=~models.Q(bio=""), name="has_bio"),
            ]


    class ProfileAgain(models.Model):
        email = emf.EncryptedEmailField(db_column="E-Mail")

        class Meta:
            managed = False
            db_table = "web_profile"


    class Legacy(models.Model):
        code = models.CharField(max_length=9, primary_key=True)
        phone = emf.EncryptedCharField(max_length=30)

        class Meta:
            managed = False
            db_table = 'old "phones"'


    class Order(models.Model):
        shipping = WrappedJson()
        card = Narrow(max_length=64)
        iban = SealedOnSave(max_length=300)


    class Person(models.Model):
        passport = emf.EncryptedCharField(max_length=30)


    class Employee(Person):
        salary = emf.EncryptedIntegerField()


    class PersonProxy(Person):
        class Meta:
            proxy = True


    class Visible(models.Manager):
        def get_queryset(self):
            return super().get_queryset().filter(deleted=False)


    class Note(models.Model):
        deleted = models.BooleanField(default=False)
        text = emf.EncryptedTextField()
        objects = Visible()


    class Audit(models.Model):
        who = emf.EncryptedTextField()


    class Vote(models.Model):
        pk = models.CompositePrimaryKey("voter", "topic")
        voter = models.IntegerField()
        topic = models.IntegerField()
        address = emf.EncryptedCharField(max_length=45)


    class LookAlike(models.Model):
        salted = SaltedHash(max_length=80)
        digest = Digest(max_length=64)
        packed = Compressed()
        typed = models.TextField(default="gAAAAABhello")


    class Packages(models.Model):
        hkdf = fernet_fields.EncryptedTextField()
        hkdf_date = fernet_fields.EncryptedDateField()
        pbkdf2 = salted.EncryptedCharField(max_length=20)
        leaves = salted.EncryptedJSONField()
        pickled = encrypt(models.CharField(max_length=20))
"""


def write_project(directory: Path, **files: str) -> Path:
    """The project's files; a keyword replaces the file of that name."""
    parts = {
        "manage": MANAGE,
        "site_settings": SETTINGS,
        "web/__init__": "",
        "web/fields": FIELDS,
        "web/models": MODELS,
    }
    for name, text in {**parts, **files}.items():
        target = directory / f"{name}.py"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(textwrap.dedent(text))
    return directory


def application(directory: Path, **env: str) -> Application:
    """The project seen through the interpreter that the tests run under."""
    keys = {"FIELD_ENCRYPTION_KEY": f"{NEW_KEY},{OLD_KEY}", "SAMPLE_SECRET_KEY": SECRET_KEY, **env}
    given = {name: Secret(value, name=name) for name, value in keys.items() if value}
    return Application(Path(sys.executable), Path("manage.py"), directory, given)

"""A Django site whose one table has a column of each package that encrypts fields, on any database."""

import json
import subprocess
import sys
from dataclasses import replace
from urllib.parse import urlsplit

from checking import MANAGE, application, context, write
from cryptography.fernet import Fernet

from deployguard.process import base_environment
from deployguard.secret import Secret

SITE = {
    "manage.py": MANAGE,
    "site_settings.py": """
        import json, os
        from urllib.parse import urlsplit
        SECRET_KEY = os.environ.get("SAMPLE_SECRET_KEY", "sample-only-the-derived-keys-start-from-this-text")
        SALT_KEY = os.environ.get("SALT_KEY", "salt").split(",")
        FERNET_KEYS = os.environ.get("FERNET_KEYS", "first").split(",")
        CRYPTOGRAPHY_KEY = "sample-only-for-django-cryptography"
        FIELD_ENCRYPTION_KEY = os.environ["FIELD_ENCRYPTION_KEY"].split(",")
        INSTALLED_APPS = ["shop"]
        DATABASES = {"default": json.loads(os.environ["SAMPLE_DATABASE"])}
        if "SAMPLE_URL" in os.environ:
            DATABASES["default"]["NAME"] = urlsplit(os.environ["SAMPLE_URL"]).path[1:]
        if "mysql" in DATABASES["default"]["ENGINE"]:
            import pymysql
            pymysql.install_as_MySQLdb()
        DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
        USE_TZ = True
    """,
    "shop/__init__.py": "",
    "shop/fields.py": """
        import base64, hashlib, json, os
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
        from django.db import models
        from encrypted_model_fields.fields import decrypt_str, encrypt_str

        KEY = hashlib.sha256(b"sample only").digest()


        class WrappedJson(models.TextField):
            # written by hand: JSON inside the token
            def get_prep_value(self, value):
                return None if value is None else encrypt_str(json.dumps(value)).decode()

            def from_db_value(self, value, expression, connection):
                return None if value is None else json.loads(decrypt_str(value))


        class OwnFormat(models.TextField):
            # written by hand: JSON in a format of its own
            def get_prep_value(self, value):
                if value is None:
                    return None
                nonce = os.urandom(12)
                sealed = nonce + AESGCM(KEY).encrypt(nonce, json.dumps(value).encode(), None)
                return "enc:1:" + base64.b64encode(sealed).decode()

            def from_db_value(self, value, expression, connection):
                if value is None or not value.startswith("enc:1:"):
                    return value
                sealed = base64.b64decode(value[6:])
                return json.loads(AESGCM(KEY).decrypt(sealed[:12], sealed[12:], None))
    """,
    "shop/models.py": """
        import encrypted_fields.fields as salted
        import encrypted_model_fields.fields as emf
        import fernet_fields
        from django.db import models
        from django_cryptography.fields import encrypt
        from shop.fields import OwnFormat, WrappedJson


        class Person(models.Model):
            plain_key = emf.EncryptedTextField(null=True)
            pbkdf2 = salted.EncryptedTextField(null=True)
            hkdf = fernet_fields.EncryptedTextField(null=True)
            born = fernet_fields.EncryptedDateField(null=True)
            pickled = encrypt(models.TextField(null=True))
            wrapped = WrappedJson(null=True)
            own = OwnFormat(null=True)
    """,
}
RUNBOOK = """\
version: 1
name: shop
django:
  python: {python}
  env:
    SAMPLE_DATABASE: ${{{{ env.SAMPLE_DATABASE }}}}
    FIELD_ENCRYPTION_KEY: ${{{{ secrets.key }}}}
secrets:
  key: {{ from: env, name: FIELD_ENCRYPTION_KEY }}
encryption:
  keys: [key]
environments:
  production: {{ database: "{url}" }}
preflight:
  - uses: key.check
  - uses: encryption.readiness
steps:
  - {{ id: dry-run, uses: encryption.plan }}
  - id: rehearse
    uses: rehearse
    with: {{ steps: [encrypt, verify], url_in: SAMPLE_URL }}
  - id: encrypt
    uses: encryption.encrypt
    with: {{ without_backup: only made up values }}
    rollback: {{ uses: encryption.decrypt }}
  - {{ id: verify, uses: encryption.verify }}
report: {{ formats: [md], to: reports/ }}
"""
BINARY = ("hkdf", "born", "pickled")
COLUMNS = ("plain_key", "pbkdf2", "hkdf", "born", "pickled", "wrapped", "own")
TEXTS = ("Zoë", "a@example.org", "gAAAA typed", "x" * 500, " ", "enc", "\\x00 backslash", "100 % 'quoted'")
ROWS = [
    (*[f"{text} {n}" for n in range(3)], f"20{number:02}-03-04", text, json.dumps({"a": text}), json.dumps([text]))
    for number, text in enumerate(TEXTS)
]
"""What the columns held before they were encrypted, in the order of `COLUMNS`."""


def database_of(store):
    """How the settings name the store's database."""
    where = urlsplit(store.url)
    if store.product == "sqlite":
        return {"ENGINE": "django.db.backends.sqlite3", "NAME": where.path[1:]}
    engine = "postgresql" if store.product == "postgresql" else "mysql"
    return {
        "ENGINE": f"django.db.backends.{engine}", "NAME": where.path[1:], "HOST": where.hostname, "PORT": where.port,
        "USER": where.username,
    }  # fmt: skip


class PackagesSite:
    """The site, its database, and the runbook's key."""

    def __init__(self, folder, store, models=SITE["shop/models.py"]):
        self.folder, self.store = write(folder, {**SITE, "shop/models.py": models}), store
        self.key = Fernet.generate_key().decode()
        self.env = {"SAMPLE_DATABASE": json.dumps(database_of(store)), "FIELD_ENCRYPTION_KEY": self.key}
        self.manage("migrate", "--run-syncdb", "-v0")

    def manage(self, *arguments):
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments], cwd=self.folder, env={**base_environment(), **self.env},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run(self, *arguments):
        """A command of deployguard, with a runbook for this site beside it."""
        runbook = self.folder / "runbook.yaml"
        if not runbook.exists():
            runbook.write_text(RUNBOOK.format(python=sys.executable, url=self.store.url), "utf-8")
        return subprocess.run(
            [sys.executable, "-m", "deployguard", *arguments], cwd=self.folder, env={**base_environment(), **self.env},
            capture_output=True, text=True, check=False,
        )  # fmt: skip

    def context(self, *, keys=("key",), secrets=None):
        app = application(self.folder, **{name: Secret(value, name=name) for name, value in self.env.items()})
        made = context(self.folder, app=app, url=self.store.url, secrets=secrets or {"key": self.key}, keys=keys)
        return replace(made, run="run-1", step="encrypt", fence=1)

    def fill(self, rows=ROWS):
        """Rows as the site had them before."""
        blobs = [
            tuple(v.encode() if c in BINARY and v is not None else v for c, v in zip(COLUMNS, row, strict=True))
            for row in rows
        ]
        marks = ", ".join("?" * len(COLUMNS))
        self.store.run_many(f"INSERT INTO shop_person ({', '.join(COLUMNS)}) VALUES ({marks})", blobs)

    def stored(self):
        """Every value as it stands."""
        return self.store.run(f"SELECT {', '.join(COLUMNS)} FROM shop_person ORDER BY id")

    def read(self):
        """What the application reads: rows of values."""
        code = (
            "import json; from shop.models import Person;"
            f"print(json.dumps([[getattr(p, c) for c in {COLUMNS!r}]"
            " for p in Person.objects.order_by('id')], default=str))"
        )
        return [tuple(row) for row in json.loads(self.manage("shell", "--no-imports", "-c", code))]


def as_read(rows=ROWS):
    """Rows as the application is to read them."""
    return [(*row[:5], *(None if v is None else json.loads(v) for v in row[5:])) for row in rows]

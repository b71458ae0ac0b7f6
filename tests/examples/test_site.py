"""What the sample site and its demo promise to whoever deploys them, without deployguard."""

import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from cryptography.fernet import Fernet, InvalidToken

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))
import build_demo  # noqa: E402 - a script of the examples, not a package
import seed as seeding  # noqa: E402

COLUMNS = {
    "web_profile": [
        *("first_name", "last_name", "email", "discord_username", "slack_username", "github_username"),
        "stripe_account_id",
    ],
    "web_donation": ["email"],
    "web_order": ["shipping_address"],
    "web_webrequest": ["ip_address"],
    "web_featurevote": ["ip_address"],
}
KEY = Fernet.generate_key().decode()
# each with something that only the codes of a URL can carry
BASE = {"PATH": "/usr/bin:/bin", "DATABASE_URL": "sqlite:///some%20data.sqlite3"}


def manage(site, *arguments, **env):
    return subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=site, env={**BASE, **env}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def types(database):
    with sqlite3.connect(database) as connection:
        return {t: {row[1]: row[2] for row in connection.execute(f"PRAGMA table_info({t})")} for t in COLUMNS}


def values(database):
    with sqlite3.connect(database) as connection:
        return {
            (table, column): dict(connection.execute(f"SELECT id, {column} FROM {table}"))
            for table, columns in COLUMNS.items()
            for column in columns
        }


@pytest.fixture(scope="module")
def sites(tmp_path_factory):
    """The site before and after encryption, over one seeded database at 0062."""
    root = tmp_path_factory.mktemp("sites")
    for name, after in [("before", False), ("after", True)]:
        build_demo.lay_out(root / name, after=after)
    assert manage(root / "before", "migrate", "--verbosity", "0").returncode == 0
    (root / "key").write_text(KEY)
    seeding.main(str(root / "before/some data.sqlite3"), str(root / "key"), "test")
    return root


@pytest.fixture
def database(sites):
    """A copy of the seeded database, where the site after encryption looks for it."""
    file = sites / "after/some data.sqlite3"
    with sqlite3.connect(sites / "before/some data.sqlite3") as source, sqlite3.connect(file) as copy:
        source.backup(copy)
    return file


def test_the_site_before_needs_neither_key_nor_field_package(sites):
    code = "import sys, django; django.setup(); print('encrypted_model_fields' in sys.modules)"
    env = {**BASE, "DJANGO_SETTINGS_MODULE": "config.settings"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=sites / "before", env=env, capture_output=True, text=True, check=True
    )

    assert done.stdout == "False\n"
    assert manage(sites / "before", "test").returncode == 0


def test_the_site_after_does_not_start_without_a_key(sites):
    done = manage(sites / "after", "check")

    assert done.returncode != 0
    assert "ImproperlyConfigured: MESSAGE_ENCRYPTION_KEY is not set" in done.stderr


def test_the_site_after_passes_its_own_tests(sites):
    done = manage(sites / "after", "test", MESSAGE_ENCRYPTION_KEY=KEY)

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", ["before", "after"])
def test_models_and_migrations_agree(sites, name):
    assert manage(sites / name, "makemigrations", "--check", MESSAGE_ENCRYPTION_KEY=KEY).returncode == 0


def test_the_seeded_people_are_of_every_kind(database):
    for (table, column), stored in values(database).items():
        kinds = Counter(map(kind, stored.values()))
        assert kinds["null"] > 50, (table, column)
        assert kinds["plaintext"] > 1000, (table, column)
        if column != "shipping_address":  # which checks that it holds JSON
            assert min(kinds["empty"], kinds["token"]) > 5, (table, column)


def test_some_plaintext_begins_like_a_token_and_none_has_the_form_of_one(database):
    plaintext = [v for stored in values(database).values() for v in stored.values() if kind(v) == "plaintext"]
    like_tokens = [v for v in plaintext if v.startswith("gAAAA")]

    assert len(like_tokens) > 100
    # a whole token is 57 bytes and blocks of 16, in groups of four characters
    assert not [
        v for v in like_tokens if v.isascii() and (len(v.rstrip("=")) * 3 // 4 - 57) % 16 == 0 and len(v) >= 100
    ]


def test_every_token_fits_the_new_columns(database):
    longest = max(
        len(v if kind(v) == "token" else Fernet(KEY).encrypt(v.encode()).decode())
        for (_, column), stored in values(database).items()
        for v in stored.values()
        if column != "shipping_address" and v is not None
    )
    assert 400 < longest <= 500


def test_0063_and_back_changes_types_and_no_value(sites, database):
    types_before, values_before = types(database), values(database)

    assert manage(sites / "after", "migrate", "web", "0063", MESSAGE_ENCRYPTION_KEY=KEY).returncode == 0
    assert types(database)["web_profile"]["email"] == "varchar(500)"
    assert types(database)["web_webrequest"]["ip_address"] == "varchar(255)"
    assert values(database) == values_before
    assert manage(sites / "after", "migrate", "web", "0062", MESSAGE_ENCRYPTION_KEY=KEY).returncode == 0

    assert types(database) == types_before
    assert values(database) == values_before


def test_after_0063_old_rows_are_readable_and_saved_rows_are_tokens(sites, database):
    manage(sites / "after", "migrate", MESSAGE_ENCRYPTION_KEY=KEY)
    expected = {key: opened(v) for key, v in values(database)["web_profile", "first_name"].items()}
    ask = (
        "from web.models import Profile\n"
        "print(dict(Profile.objects.values_list('pk', 'first_name')))\n"
        "[each.save() for each in Profile.objects.order_by('pk')[:20]]"
    )

    # the shell of this Django would list what it imports first
    done = manage(sites / "after", "shell", "--no-imports", "--command", ask, MESSAGE_ENCRYPTION_KEY=KEY)

    assert done.stdout == f"{expected}\n"
    saved = sorted(values(database)["web_profile", "first_name"].items())[:20]
    assert {kind(v) for _, v in saved} <= {"token", "null"}
    assert [opened(v) for _, v in saved] == [expected[key] for key, _ in saved]


def test_the_same_files_give_the_same_commits(tmp_path):
    heads = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        build_demo.make_origin(tmp_path / name)
        log = ["git", "-C", str(tmp_path / name / "origin.git"), "log", "--format=%H %as %cs", "main"]
        heads.append(subprocess.run(log, capture_output=True, text=True, check=True).stdout.splitlines())

    assert heads[0] == heads[1]
    # two builds within a second would agree anyway
    assert [line.split()[1:] for line in heads[0]] == [["2026-01-02"] * 2, ["2026-01-01"] * 2]


def kind(value):
    if value is None:
        return "null"
    if value == "":
        return "empty"
    return "plaintext" if opened(value) == value else "token"


def opened(value):
    """The value, or what is inside if it is a token; by cryptography alone."""
    try:
        return value and Fernet(KEY).decrypt(value.encode()).decode()
    except InvalidToken:
        return value

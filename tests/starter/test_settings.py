"""What settings ask of the environment is read in their source, in every way that they are commonly written."""

import pytest

from deployguard.starter.settings import read_settings

MANAGE = 'os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")\n'


@pytest.fixture
def read(tmp_path):
    def read(text, **others):
        (tmp_path / "manage.py").write_text(MANAGE)
        (tmp_path / "config").mkdir()
        for name, content in {"settings": text, **others}.items():
            (tmp_path / "config" / f"{name}.py").write_text(content)
        return read_settings(tmp_path / "manage.py")

    return read


@pytest.mark.parametrize(
    ("text", "required", "optional"),
    [
        ('import os\nA = os.environ["SECRET_ONE"]', ["SECRET_ONE"], []),
        ('from os import environ\nA = environ["SECRET_ONE"]', ["SECRET_ONE"], []),
        ('A = os.environ.get("SECRET_ONE", "x")', [], ["SECRET_ONE"]),
        ('A = os.getenv("SECRET_ONE")', [], ["SECRET_ONE"]),
        ('A = env("SECRET_ONE")', ["SECRET_ONE"], []),
        ('A = env.str("SECRET_ONE", default="")', [], ["SECRET_ONE"]),
        ('A = env.bool("DEBUG", False)', [], ["DEBUG"]),
        ('A = config("SECRET_ONE")\nB = config("OTHER_ONE", default=1)', ["SECRET_ONE"], ["OTHER_ONE"]),
        ("A = env.db()", ["DATABASE_URL"], []),
        ("A = dj_database_url.config(conn_max_age=600)", ["DATABASE_URL"], []),
        ('A = dj_database_url.config(env="MAIN_DB_URL")', ["MAIN_DB_URL"], []),
        ('A = {}.get("NOT_A_VARIABLE")', [], []),
        ('A = os.environ["lower"]\nB = os.environ[name]', [], []),
        ('A = os.environ["TWICE"]\nB = os.environ.get("TWICE")', ["TWICE"], []),
    ],
)
def test_a_variable_is_found_and_whether_it_must_be_there(read, text, required, optional):
    found = read(text)

    assert (list(found.required), list(found.optional)) == (required, optional)


def test_settings_made_of_several_files_are_read_together(read):
    found = read("from config.base import *\n", base='DATABASES = {"default": env.db("PRIMARY_DATABASE_URL")}')

    assert found.database() == "PRIMARY_DATABASE_URL"


def test_of_several_keys_the_one_that_is_no_setting_itself_comes_first(read):
    found = read('FIELD_ENCRYPTION_KEY = [os.environ["FIELD_ENCRYPTION_KEY"], os.environ["MESSAGE_ENCRYPTION_KEY"]]')

    assert found.keys() == ["MESSAGE_ENCRYPTION_KEY", "FIELD_ENCRYPTION_KEY"]


@pytest.mark.parametrize("text", ["this is not Python", "\0", "é" * 10], ids=["syntax", "nul", "text"])
def test_what_cannot_be_read_is_passed_over(read, text):
    assert read(text, good='A = os.environ["SECRET_ONE"]').required == ("SECRET_ONE",)


def test_a_manage_py_that_names_no_settings_gives_none(tmp_path):
    (tmp_path / "manage.py").write_text("pass\n")

    assert read_settings(tmp_path / "manage.py").variables() == []

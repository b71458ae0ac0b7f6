import ast
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sample_project import NEW_KEY, SECRET_KEY, SETTINGS, application, write_project

from deployguard.errors import Refused

PLAIN_FIELDS = "class Router: pass"
PLAIN_MODELS = "import encrypted_model_fields.fields"


@pytest.fixture
def site(tmp_path):
    write_project(tmp_path, **{"web/fields": PLAIN_FIELDS, "web/models": PLAIN_MODELS})
    return application(tmp_path)


def refusal(app):
    with pytest.raises(Refused) as caught:
        app.probe({"do": "settings"})
    return f"{caught.value.message}\n{caught.value.hint}"


def rewrite(app, name, text):
    write_project(app.directory, **{"web/fields": PLAIN_FIELDS, "web/models": PLAIN_MODELS, name: text})


def test_a_management_command_runs_by_the_applications_own_interpreter(site):
    venv = replace(site, python=Path(".venv/bin/python"))

    assert venv.manage_command("migrate", "web") == [
        str(site.directory / ".venv/bin/python"),
        str(site.directory / "manage.py"),
        "migrate",
        "web",
    ]


def test_the_environment_wins_over_manage_py(site):
    (site.directory / "other_settings.py").write_text("from site_settings import *\nTIME_ZONE = 'UTC'")
    other = replace(site, env={**site.env, "DJANGO_SETTINGS_MODULE": "other_settings"})

    assert other.probe({"do": "settings"})["time_zone"] == "UTC"


def test_what_manage_py_prepares_is_there(site):
    rewrite(
        site,
        "manage",
        """
        import os, sys
        os.environ["FIELD_ENCRYPTION_KEY"] = os.environ.pop("KEY_UNDER_ANOTHER_NAME")  # as a loader of .env files does
        sys.path.append("deeper")
        if __name__ == "__main__":
            os.environ.setdefault("DJANGO_SETTINGS_" + "MODULE", "deep_settings")
            from django.core.management import execute_from_command_line
            execute_from_command_line(sys.argv)
        """,
    )
    (site.directory / "deeper").mkdir()
    (site.directory / "deeper" / "deep_settings.py").write_text("from site_settings import *\nTIME_ZONE = 'UTC'")
    env = {"SAMPLE_SECRET_KEY": SECRET_KEY, "KEY_UNDER_ANOTHER_NAME": NEW_KEY}

    assert replace(site, env=env).probe({"do": "settings"})["time_zone"] == "UTC"


def test_what_the_application_prints_does_not_disturb_the_answer(site):
    noise = "import os; print('{}' * 9999); os.write(1, b'\\xff\\x00 { no line end'); os.system('echo a child')\n"
    (site.directory / "noisy_settings.py").write_text(noise + "from site_settings import *")
    noisy = replace(site, env={**site.env, "DJANGO_SETTINGS_MODULE": "noisy_settings"})

    assert noisy.probe({"do": "settings"})["settings"] == "noisy_settings"


def test_an_application_that_prints_all_the_time_does_not_cut_a_long_answer(site):
    models = """
        import os, threading
        from django.db import models
        from encrypted_model_fields.fields import EncryptedTextField

        def chatter():
            while True:
                os.write(1, b"chatter")

        threading.Thread(target=chatter, daemon=True).start()
        fields = {f"field_{n}": EncryptedTextField() for n in range(300)}
        Wide = type("Wide", (models.Model,), {"__module__": "web.models", **fields})
    """
    rewrite(site, "web/models", models)

    assert len(site.probe({"do": "fields"})["fields"]) == 300


def test_modules_beside_the_probe_do_not_shadow_the_applications(site):
    rewrite(site, "target", "MINE = True")
    rewrite(site, "web/models", "from target import MINE")

    assert site.probe({"do": "settings"})["django"]


def test_a_thread_the_application_started_does_not_hold_the_answer_back(site):
    rewrite(site, "web/models", "import threading, time; threading.Thread(target=time.sleep, args=(600,)).start()")

    assert site.ask({"do": "settings"})


def test_nothing_is_left_in_the_application_tree(site):
    before = sorted(site.directory.rglob("*"))

    site.ask({"do": "settings"}, {"do": "fields"})

    assert sorted(site.directory.rglob("*")) == before


def test_settings_are_told_without_passwords_or_keys(tmp_path):
    app = application(write_project(tmp_path))

    told = str(app.probe({"do": "settings", "nonce": "00"}))

    assert "never-created.sqlite3" in told
    for secret in (NEW_KEY, SECRET_KEY, "hidden-pw"):
        assert secret not in told


def test_the_probe_is_written_for_python_3_8():
    probe = Path(__file__).parents[2] / "deployguard" / "rows" / "probe.py"

    ast.parse(probe.read_text(), feature_version=(3, 8))


def test_an_absent_interpreter_is_refused(site):
    said = refusal(replace(site, python=Path(".venv/bin/python")))

    assert "no such interpreter" in said
    assert "django.python" in said


def test_an_interpreter_that_may_not_run_is_refused(site):
    (site.directory / "python").write_text("")

    assert "not executable" in refusal(replace(site, python=Path("python")))


def test_an_absent_manage_py_is_refused(site):
    said = refusal(replace(site, manage=Path("src/manage.py")))

    assert "src/manage.py: there is no such file" in said
    assert "django.manage" in said


def test_a_manage_py_that_is_not_python_is_refused_with_its_line(site):
    rewrite(site, "manage", "import os\nos.environ.setdefault(")

    assert "manage.py:2: the application does not start (SyntaxError)" in refusal(site)


def test_an_interpreter_without_django_is_refused(site):
    bare = site.directory / "bare-python"
    bare.write_text(f'#!/bin/sh\nexec {getattr(sys, "_base_executable", sys.executable)} -S "$@"\n')
    bare.chmod(0o755)

    assert "Django is not installed" in refusal(replace(site, python=bare))


def test_a_missing_key_is_named_with_its_place(site):
    env = {name: value for name, value in site.env.items() if name != "FIELD_ENCRYPTION_KEY"}

    said = refusal(replace(site, env=env))

    line = next(number for number, text in enumerate(SETTINGS.splitlines(), 1) if "FIELD_ENCRYPTION_KEY" in text)
    assert f"site_settings.py:{line}: the application does not start" in said
    assert "KeyError" in said
    assert "Look at FIELD_ENCRYPTION_KEY" in said


def test_a_key_that_is_no_key_is_named_and_not_shown(site):
    bad = "not-a-key-but-still-secret-1234567890"

    said = refusal(application(site.directory, FIELD_ENCRYPTION_KEY=bad))

    assert "ImproperlyConfigured" in said
    assert "FIELD_ENCRYPTION_KEY" in said
    assert bad not in said


@pytest.mark.parametrize("kind", ["ValueError", "ImproperlyConfigured", "KeyError"])
def test_an_exceptions_text_is_never_told(site, kind):
    raising = f"from django.core.exceptions import ImproperlyConfigured\n\nraise {kind}('SOME_KEY is {NEW_KEY}')"
    rewrite(site, "web/models", raising)

    said = refusal(site)

    assert f"web/models.py:3: the application does not start ({kind})" in said
    assert NEW_KEY not in said


def test_a_missing_module_is_named(site):
    rewrite(site, "web/models", "import stripe_of_tomorrow")

    assert "The module stripe_of_tomorrow is missing" in refusal(site)


def test_a_manage_py_that_names_no_settings_is_refused(site):
    rewrite(
        site, "manage", "import sys; from django.core.management import execute_from_command_line as run; run(sys.argv)"
    )

    assert "Look at DJANGO_SETTINGS_MODULE" in refusal(site)


def test_a_syntax_error_in_the_settings_has_its_line(site):
    rewrite(site, "site_settings", "x = 1\ny = (")

    assert "site_settings.py:2: the application does not start (SyntaxError)" in refusal(site)


def test_an_application_that_leaves_by_itself_is_refused(site):
    rewrite(site, "web/models", "import os; os._exit(9)")

    said = refusal(site)

    assert "without an answer (exit status 9)" in said
    assert "manage.py check" in said


def test_an_application_that_hangs_is_refused_at_the_deadline(site):
    rewrite(site, "web/models", "import time; time.sleep(60)")

    with pytest.raises(Refused, match="did not answer within 1 s"):
        site.ask({"do": "settings"}, timeout=1)


def test_the_application_gets_its_own_environment_and_not_ours(site, monkeypatch):
    monkeypatch.setenv("OUR_OWN_TOKEN", "x" * 20)
    rewrite(site, "web/models", "import os; assert 'OUR_OWN_TOKEN' not in os.environ")

    assert os.environ["OUR_OWN_TOKEN"]
    assert site.probe({"do": "settings"})

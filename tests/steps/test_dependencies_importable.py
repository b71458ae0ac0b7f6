"""`dependencies.importable`: a package that is missing or broken is found before the site is restarted."""

import pytest
from checking import SITE, application, context, write
from pydantic import ValidationError

from deployguard.errors import StepFailed, StepTimedOut
from deployguard.steps.dependencies_importable import DependenciesImportable


@pytest.fixture
def site(tmp_path):
    return write(tmp_path / "site", SITE)


def check(folder, packages=None, **settings):
    # packages of the application's own, beside those of the interpreter that the tests run under
    app = application(folder, PYTHONPATH=str(write(folder.parent / "packages", packages or {})))
    return DependenciesImportable(**settings).execute(context(folder, app=app))


def test_a_site_whose_packages_are_there_passes(site):
    outcome = check(site)

    assert outcome.status == "pass"
    assert outcome.evidence == {"imported": 1, "failed": {}}, "django alone: the rest is its own or Python's"


def test_a_package_that_is_missing_is_a_fault_at_its_import(site):
    write(site, {"shop/tasks.py": "import os\nimport absent_package.part\n"})

    outcome = check(site)

    assert outcome.status == "fail"
    assert outcome.summary == "absent_package (shop/tasks.py:2): absent_package is not installed"


def test_a_package_that_is_there_and_does_not_load_is_a_fault(site):
    write(site, {"shop/tasks.py": "from broken import thing\nfrom needy import other\n"})

    outcome = check(site, {"broken.py": "raise OSError('libssl.so.1')\n", "needy.py": "import absent_one\n"})

    assert outcome.summary == (
        "broken (shop/tasks.py:1): OSError; needy (shop/tasks.py:2): absent_one is not installed"
    )


def test_imports_whose_absence_is_foreseen_may_fail(site):
    write(
        site,
        {
            "shop/tasks.py": """
                from typing import TYPE_CHECKING
                try:
                    import absent_one
                except ImportError:
                    absent_one = None
                if TYPE_CHECKING:
                    import absent_two

                def task():
                    import absent_three
            """,
        },
    )

    assert check(site).status == "pass"


def test_packages_may_be_named_that_are_optional_or_needed_without_an_import(site):
    write(site, {"shop/dev.py": "import absent_toolbar\n"})

    assert check(site, optional=["absent_toolbar"]).status == "pass"
    assert "absent_driver (also:)" in check(site, optional=["absent_toolbar"], also=["absent_driver"]).summary


def test_the_applications_own_code_is_not_run(site):
    write(
        site, {"shop/__init__.py": "raise SystemExit(1)\n", "shop/views.py": "import shop\nfrom shop import models\n"}
    )

    assert check(site).status == "pass"


def test_a_package_that_prints_or_ends_the_process_is_no_answer(site):
    write(site, {"shop/tasks.py": "import talker\n"})
    assert check(site, {"talker.py": "print('hello')\n"}).status == "pass"

    with pytest.raises(StepFailed, match="ended while it imported"):
        check(site, {"talker.py": "import os\nos._exit(3)\n"})


def test_a_package_that_exits_is_a_fault(site):
    write(site, {"shop/tasks.py": "import leaver\n"})

    assert "leaver (shop/tasks.py:1): SystemExit" in check(site, {"leaver.py": "raise SystemExit\n"}).summary


def test_a_package_that_hangs_is_given_up(site):
    write(site, {"shop/tasks.py": "import sleeper\n"})

    with pytest.raises(StepTimedOut):
        check(site, {"sleeper.py": "import time\ntime.sleep(60)\n"}, timeout="2s")


@pytest.mark.parametrize("names", ["django", ["../shop"], ["os; rm"], ["-c"]])
def test_names_that_are_no_modules_are_refused(names):
    with pytest.raises(ValidationError):
        DependenciesImportable(also=names)

"""`django.deploy_check`: each of Django's warnings is corrected, or stands with a reason."""

import pytest
from checking import SITE, application, context, write
from pydantic import ValidationError

from deployguard.errors import StepFailed
from deployguard.steps.django_deploy_check import DjangoDeployCheck

GOOD = """
    SECRET_KEY = "Zq8wJ3nB5vT1xK7mR2cP6yL0dF4hS9gA-uE_iO.tQbNzXkWjVrGpMlHyCsDfa"
    DEBUG = False
    ALLOWED_HOSTS = ["example.org"]
    INSTALLED_APPS = ["shop"]
    DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "site.db"}}
    DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
    MIDDLEWARE = [
        "django.middleware.security.SecurityMiddleware", "django.middleware.csrf.CsrfViewMiddleware",
        "django.middleware.clickjacking.XFrameOptionsMiddleware",
    ]
    SECURE_HSTS_SECONDS = 3600
    SECURE_HSTS_INCLUDE_SUBDOMAINS = SECURE_HSTS_PRELOAD = True
    SECURE_SSL_REDIRECT = SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = True
    ROOT_URLCONF = "urls"
"""


@pytest.fixture
def check(tmp_path):
    def check(settings="", **given):
        files = {**SITE, "site_settings.py": GOOD + settings, "urls.py": "urlpatterns = []\n"}
        folder = write(tmp_path / "site", files)
        return DjangoDeployCheck(**given).execute(context(folder, app=application(folder)))

    return check


def allowed(id_, reason="the proxy in front does it"):
    return {"id": id_, "reason": reason}


def test_settings_fit_for_production_pass(check):
    assert check().status == "pass"


def test_each_warning_is_a_fault_with_its_id(check):
    outcome = check("    DEBUG = True\n    SECURE_HSTS_SECONDS = 0\n")

    assert outcome.status == "fail"
    assert "security.W018 You should not have DEBUG set to True" in outcome.summary
    assert outcome.hint.startswith("Correct security.W004, security.W018 in the settings")


def test_an_allowed_warning_keeps_its_reason_and_the_others_stay_faults(check):
    outcome = check("    DEBUG = True\n    SECURE_HSTS_SECONDS = 0\n", allow=[allowed("security.W004")])

    assert outcome.status == "fail"
    assert "W004" not in outcome.summary
    assert outcome.evidence["allowed"] == {"security.W004": "the proxy in front does it"}


def test_with_all_allowed_it_passes_and_says_how_many(check):
    outcome = check("    SECURE_HSTS_SECONDS = 0\n", allow=[allowed("security.W004"), allowed("security.W018")])

    assert outcome.status == "pass"
    assert "1 messages allowed" in outcome.summary
    assert outcome.evidence["allowed_in_vain"] == ["security.W018"]


def test_errors_are_faults_too(check):
    outcome = check(
        "    INSTALLED_APPS += [f'django.contrib.{n}' for n in ('contenttypes', 'auth', 'messages', 'admin')]\n"
    )

    assert outcome.status == "fail"
    assert "admin.E" in outcome.summary


def test_a_message_without_an_id_is_no_pass(check):
    nameless = """
    from django.core.checks import Warning, register

    @register(deploy=True)
    def nameless(app_configs, **more):
        return [Warning("the moon is full")]
    """
    with pytest.raises(StepFailed, match="check --deploy failed"):
        check(nameless)


def test_an_application_that_does_not_start_fails_with_its_last_words(check):
    with pytest.raises(StepFailed, match="ModuleNotFoundError: No module named 'absent'") as failed:
        check("    import absent\n")

    assert "check --deploy" in failed.value.hint


@pytest.mark.parametrize(
    "allow",
    ["security.W004", [{"id": "security.W004"}], [{"id": "W004", "reason": ""}], [{"id": "all", "reason": "because"}]],
)
def test_an_allowance_without_id_or_reason_is_refused(allow):
    with pytest.raises(ValidationError):
        DjangoDeployCheck(allow=allow)

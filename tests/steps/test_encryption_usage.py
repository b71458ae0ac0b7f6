"""`encryption.usage`: places that will silently find nothing stop the run, unless somebody says why not."""

import os
import sys

import pytest
from checking import context, write
from pydantic import ValidationError

from deployguard.errors import Refused
from deployguard.steps.encryption_usage import EncryptionUsage

SITE = {
    "web/models.py": """
        from django.db import models


        class Profile(models.Model):
            email = models.EmailField()
            name = models.TextField()
    """,
    "web/views.py": """
        from web.models import Profile


        def find(address, rows):
            rows.order_by("email")
            return Profile.objects.filter(email=address)
    """,
    "web/admin.py": """
        from django.contrib import admin
        from web.models import Profile


        @admin.register(Profile)
        class ProfileAdmin(admin.ModelAdmin):
            search_fields = ["email"]
    """,
}
EMAIL = {"columns": ["web.Profile.email"]}
SURE = "web/admin.py:8 searches web.Profile.email; web/views.py:7 filters on web.Profile.email"
PERHAPS = "web/views.py:6 perhaps orders by web.Profile.email"


@pytest.fixture
def site(tmp_path):
    return write(tmp_path / "site", SITE)


def check(folder, app=None, **settings):
    return EncryptionUsage(**settings).execute(context(folder, app=app))


def allowed(file, **more):
    return {"file": file, "reason": "is being removed", **more}


def test_places_stop_the_run_and_are_named_with_file_and_line(site):
    outcome = check(site, **EMAIL)

    assert outcome.status == "fail"
    assert outcome.summary == f"{SURE}; {PERHAPS}"
    assert "keyed digest" in outcome.hint
    assert outcome.evidence["places"][0] == {
        "file": "web/admin.py", "line": 8, "does": "searches", "column": "web.Profile.email", "sure": True, "allowed": "",
    }  # fmt: skip


def test_by_policy_they_only_warn(site):
    assert check(site, **EMAIL, on_use="warn").status == "warn"


def test_an_allowed_place_keeps_its_reason_and_the_rest_is_still_told(site):
    outcome = check(site, **EMAIL, allow=[allowed("web/admin.py", does="searches")])

    assert outcome.status == "fail"
    assert "admin" not in outcome.summary
    assert outcome.evidence["places"][0]["allowed"] == "is being removed"


def test_a_possible_place_is_a_warning_at_most(site):
    outcome = check(site, **EMAIL, allow=[allowed("web/*", does="filters on"), allowed("web/admin.py")])

    assert (outcome.status, outcome.summary) == ("warn", PERHAPS)


def test_with_every_place_allowed_the_check_passes(site):
    outcome = check(site, **EMAIL, allow=[allowed("web/*", column="web.Profile.*")])

    assert outcome.status == "pass"
    assert "3 places allowed" in outcome.summary


def test_an_allowance_that_covers_nothing_any_more_is_on_record(site):
    outcome = check(site, columns=["web.Profile.name"], allow=[allowed("web/old.py")])

    assert outcome.status == "pass"
    assert outcome.evidence["allowed_in_vain"] == ["web/old.py"]


def test_the_application_names_its_columns_itself(site):
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "rows"))  # noqa: PTH118, PTH120
    from sample_project import application as sample
    from sample_project import write_project

    project = write_project(site / "sample")
    write(project, {"web/views.py": "from .models import Profile\nProfile.objects.filter(bio='x', name='y')\n"})

    outcome = check(project, app=sample(project))

    assert "web/views.py:2 filters on web.Profile.bio" in str(outcome.evidence["places"]) + outcome.summary
    assert "web.Profile.name" not in outcome.evidence["columns"]


def test_without_columns_there_is_nothing_to_look_for_and_that_is_said(site):
    assert check(site).status == "warn"


def test_a_file_that_cannot_be_read_is_a_warning(site):
    write(site, {"web/broken.py": "def:\n"})

    outcome = check(site, columns=["web.Profile.name"])

    assert (outcome.status, outcome.summary) == ("warn", "web/broken.py could not be read")


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(Refused, match="no such directory"):
        check(tmp_path / "none", **EMAIL)


@pytest.mark.parametrize(
    "settings",
    [
        {"columns": ["email"]},
        {"columns": "web.Profile.email"},
        {"on_use": "ignore"},
        {"allow": [{"file": "web/views.py"}]},
        {"allow": [{"file": "web/views.py", "reason": "  ok  "}]},
        {"allow": [{"reason": "it is being removed"}]},
    ],
)
def test_settings_that_mean_nothing_are_refused(settings):
    with pytest.raises(ValidationError):
        EncryptionUsage(**settings)

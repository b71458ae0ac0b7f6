import stat

import pytest
import stories

from deployguard.report import render
from deployguard.report.build import build
from deployguard.report.render import write_reports


@pytest.fixture
def report():
    story = stories.succeeded()
    return build(story.records, story.run)


def test_files_are_named_after_environment_and_run(report, tmp_path):
    assert [p.name for p in write_reports(report, tmp_path / "a" / "b", ["md", "html", "md"])] == [
        f"{stories.RUN}.md", f"{stories.RUN}.html",
    ]  # fmt: skip


def test_only_the_owner_may_read_them(report, tmp_path):
    for path in write_reports(report, tmp_path / "reports", ["md", "html"]):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_folder_keeps_itself_out_of_git_and_leaves_somebody_elses_rules_alone(report, tmp_path):
    write_reports(report, tmp_path / "new", ["md"])
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / ".gitignore").write_text("drafts/\n")
    write_reports(report, tmp_path / "old", ["md"])

    assert (tmp_path / "new" / ".gitignore").read_text() == "*\n"
    assert (tmp_path / "old" / ".gitignore").read_text() == "drafts/\n"


def test_a_write_that_fails_leaves_the_earlier_report_whole_and_no_scraps(report, tmp_path, monkeypatch):
    (path,) = write_reports(report, tmp_path, ["md"])
    before = path.read_bytes()

    monkeypatch.setitem(render._RENDER, "md", lambda _: "half \ud800")
    with pytest.raises(UnicodeEncodeError):
        write_reports(report, tmp_path, ["md"])

    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == [".gitignore", path.name]

"""`run`: any command, its outputs, and what the runbook alone can know about doing it twice."""

import sys
from dataclasses import replace

import pytest
from checking import application, context

from deployguard.errors import StepFailed
from deployguard.masking import Masker
from deployguard.secret import Secret
from deployguard.steps.run import Run

CANARY = "s3cret/value+42=="


@pytest.fixture
def here(tmp_path):
    """A context with the run's own folder, that knows a secret."""
    (tmp_path / "site").mkdir()
    (tmp_path / "run").mkdir()
    made = context(tmp_path / "site")
    target = replace(made.target, masker=Masker([Secret(CANARY, name="canary")]))
    return replace(made, folder=tmp_path / "run", target=target)


def shell(text, **keys):
    return Run(command=[text], shell=True, **keys)


def test_a_command_runs_in_the_working_copy(here):
    outcome = Run(command=["touch", "made here"]).execute(here)

    assert (here.target.directory / "made here").exists()
    assert outcome.result.exit == 0


def test_words_are_not_given_to_a_shell(here):
    outcome = Run(command=["echo", "$HOME; ls", "*"]).execute(here)

    assert outcome.result.tail.strip() == "$HOME; ls *"


def test_a_shell_stops_at_the_first_failure_and_at_a_variable_that_is_not_set(here):
    for text in ("false; touch after", 'echo "$not_set"; touch after'):
        with pytest.raises(StepFailed):
            shell(text).execute(here)

    assert not (here.target.directory / "after").exists()


def test_a_failure_is_told_with_its_status_and_last_words(here):
    with pytest.raises(StepFailed, match="exit status 7") as failed:
        shell("echo all is lost >&2; exit 7").execute(here)

    assert failed.value.command_exit == 7
    assert failed.value.tail.strip() == "all is lost"


def test_outputs_are_what_the_command_wrote_and_their_file_does_not_stay(here):
    step = shell('printf "a=1\\nb=x=y\\nnot asked=3\\n" >> "$DEPLOYGUARD_OUTPUT"', gives=("a", "b"))

    outcome = step.execute(here)

    assert outcome.outputs == {"a": "1", "b": "x=y"}
    assert list(here.folder.iterdir()) == []


def test_a_secret_in_an_output_is_masked(here):
    (here.target.directory / "canary").write_text(CANARY)

    outcome = shell('echo "a=$(cat canary)" >> "$DEPLOYGUARD_OUTPUT"', gives=("a",)).execute(here)

    assert outcome.outputs == {"a": "***"}


@pytest.mark.parametrize("text", ["true", 'rm "$DEPLOYGUARD_OUTPUT"', "echo a=1 > elsewhere"])
def test_an_output_that_was_promised_and_not_given_is_a_failure(here, text):
    with pytest.raises(StepFailed, match="the command did not give a") as failed:
        shell(text, gives=("a",)).execute(here)

    assert "$DEPLOYGUARD_OUTPUT" in failed.value.hint
    assert list(here.folder.iterdir()) == []


def test_what_a_failed_command_gave_does_not_stay(here):
    with pytest.raises(StepFailed):
        shell('echo a=1 >> "$DEPLOYGUARD_OUTPUT"; exit 1', gives=("a",)).execute(here)

    assert list(here.folder.iterdir()) == []


def test_python_is_the_applications_own(here, tmp_path):
    interpreter = tmp_path / "venv/bin/python"
    interpreter.parent.mkdir(parents=True)
    interpreter.write_text("#!/bin/sh\necho the application\n")
    interpreter.chmod(0o755)
    app = replace(application(tmp_path / "site"), python=interpreter)

    outcome = Run(command=["python", "-V"]).execute(replace(here, target=replace(here.target, application_parts=app)))

    assert outcome.result.tail.strip() == "the application"


def test_its_own_check_tells_whether_it_is_done(here):
    step = Run(command=["touch", "made"], done_if=["test", "-e", "made"])

    assert step.preview(here).verdict == "would run"
    assert step.is_done(here) is False
    step.execute(here)

    assert step.is_done(here) is True
    assert step.preview(here).verdict == "already done"


def test_without_a_check_nobody_knows_and_only_the_runbook_says_that_twice_is_harmless(here):
    assert Run(command=["true"]).is_done(here) is None
    assert not Run(command=["true"]).repeatable()
    assert Run(command=["true"], harmless_twice=True).repeatable()


def test_an_interpreter_that_is_not_there_is_told(here):
    with pytest.raises(StepFailed, match="nowhere/python cannot be started: not found"):
        Run(command=[f"{sys.prefix}/nowhere/python"]).execute(here)

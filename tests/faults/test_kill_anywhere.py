"""Twelve steps with effects outside, and a fault at every act by which the journal changes the disk.

Whatever the fault, `deploy --resume` ends in the state of the undisturbed run, or asks. No finished
step that may not run twice does so, and no effect is without its recorded intent.
"""

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import faulty
import pytest
import twelve

SAMPLE, PAIRS = 45, 10
"""Faults and pairs of faults in `make test`; `make faults` takes every one, and 300 pairs."""
STOPPED = {"NotRecorded", "Interrupted"}


@pytest.fixture(scope="module")
def worker():
    """Runs commands in processes of their own; forked from one that has everything loaded."""
    script = Path(twelve.__file__).with_name("worker.py")
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:

        def carry_out(**job):
            process.stdin.write(json.dumps({k: str(v) if isinstance(v, Path) else v for k, v in job.items()}) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        yield carry_out
        process.stdin.close()


def _undisturbed(worker, folder, project):
    project(folder)
    answer = worker(folder=folder, do="deploy")
    assert answer["end"] == "succeeded"
    return answer["acts"], twelve.world(folder)


@pytest.fixture(scope="module")
def undisturbed(worker, tmp_path_factory):
    return _undisturbed(worker, tmp_path_factory.mktemp("undisturbed"), twelve.project)


@pytest.fixture(scope="module")
def undisturbed_items(worker, tmp_path_factory):
    return _undisturbed(worker, tmp_path_factory.mktemp("undisturbed"), twelve.project_of_items)


@pytest.fixture
def disturb(worker, undisturbed, tmp_path):
    return _disturbing(worker, undisturbed[1], tmp_path / "project", twelve.project)


@pytest.fixture
def disturb_items(worker, undisturbed_items, tmp_path):
    return _disturbing(worker, undisturbed_items[1], tmp_path / "project", twelve.project_of_items)


def _disturbing(worker, world, folder, project):
    """Deploys with one fault, resumes with another or none, answers what is asked; gives how it went."""

    def once(kind, at, second=None):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        project(folder)
        first = worker(folder=folder, do="deploy", kind=kind, at=at)
        assert _foreseen(first, folder), (kind, at, first)
        if second:
            again = worker(folder=folder, do="resume", kind=second[0], at=second[1])
            assert _foreseen(again, folder), (kind, at, second, again)
        asked = _go_on(worker, folder, "succeeded")
        assert twelve.world(folder) == world, (kind, at, second)
        assert twelve.begun_after_its_end(folder) == [], (kind, at, second)
        return first, asked

    return once


@pytest.fixture
def disturb_undoing(worker, tmp_path):
    """Deploys what must fail and be undone, with one fault; resumes until it is; gives how it went."""

    def once(kind, at):
        folder = tmp_path / "project"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        twelve.failing_project(folder)
        first = worker(folder=folder, do="deploy", kind=kind, at=at)
        assert _foreseen(first, folder), (kind, at, first)
        asked = 0 if first["end"] == "rolled_back" else _go_on(worker, folder, "rolled_back")
        assert twelve.left_over(folder) == [], (kind, at)
        assert twelve.begun_after_its_end(folder) == [], (kind, at)
        return first, asked

    return once


def _foreseen(answer, folder):
    """Killed, stopped with a message and exit code 7, asking, or done: and never an effect without intent."""
    ended = answer["killed"] or answer["end"] in STOPPED | {"succeeded", "rolled_back", "NeedsPerson"}
    assert twelve.without_intent(folder) == {}, answer
    return ended and (answer["end"] not in STOPPED or answer["exit"] == 7)


def _go_on(worker, folder, end):
    """What a person does: resume, and answer questions by looking."""
    asked, decide = 0, {}
    for _ in range(5):
        answer = worker(folder=folder, do="resume", decide=decide)
        assert twelve.without_intent(folder) == {}
        if answer["end"] == end:
            return asked
        assert answer["end"] == "NeedsPerson", answer
        asked += 1  # noqa: SIM113
        decide = {step: "done" if _has_written(folder, step) else "retry" for step in answer["steps"]}
    pytest.fail(f"not done after five resumes: {answer}")


def _has_written(folder, step):
    made = folder / "made" / step
    return made.exists() and made.read_text() != ""


def _all_faults(acts):
    return [(kind, at) for kind in faulty.KINDS for at in range(1, acts + 1)]


def test_a_fault_anywhere_ends_as_if_there_had_been_none(disturb, undisturbed):
    seed = random.randrange(10**6)
    print("seed", seed)

    for kind, at in random.Random(seed).sample(_all_faults(undisturbed[0]), SAMPLE):
        disturb(kind, at)


def test_a_fault_while_items_of_a_matrix_are_at_work_ends_as_if_there_had_been_none(disturb_items, undisturbed_items):
    seed = random.randrange(10**6)
    print("seed", seed)

    for kind, at in random.Random(seed).sample(_all_faults(undisturbed_items[0]), SAMPLE // 3):
        disturb_items(kind, at)


def test_a_second_fault_while_resuming_changes_nothing(disturb, undisturbed):
    _pairs(disturb, undisturbed[0], PAIRS)


def _pairs(disturb, acts, number):
    seed = random.randrange(10**6)
    print("seed", seed)
    rng = random.Random(seed)
    for _ in range(number):
        kind, at = rng.choice(_all_faults(acts))
        disturb(kind, at, second=(rng.choice(faulty.KINDS), rng.randint(1, 60)))


def test_a_fault_anywhere_in_a_run_that_fails_ends_with_everything_undone(disturb_undoing):
    seed = random.randrange(10**6)
    print("seed", seed)
    acts = disturb_undoing("kill", 10**6)[0]["acts"]

    for kind, at in random.Random(seed).sample(_all_faults(acts), SAMPLE // 3):
        disturb_undoing(kind, at)


@pytest.mark.faults
@pytest.mark.parametrize("kind", faulty.KINDS)
def test_every_fault_ends_as_if_there_had_been_none(disturb, kind):
    _every(disturb, kind, "forward")


@pytest.mark.faults
@pytest.mark.parametrize("kind", faulty.KINDS)
def test_every_fault_while_items_of_a_matrix_are_at_work_ends_as_if_there_had_been_none(disturb_items, kind):
    _every(disturb_items, kind, "matrix")


@pytest.mark.faults
@pytest.mark.parametrize("kind", faulty.KINDS)
def test_every_fault_in_a_run_that_fails_ends_with_everything_undone(disturb_undoing, kind):
    _every(disturb_undoing, kind, "back")


def _every(disturbed, kind, way):
    at, asked, wrong, fired = 0, 0, [], True
    while fired:
        at += 1
        try:
            first, questions = disturbed(kind, at)
        except AssertionError as error:
            wrong.append(f"{kind} at {at}: {error}")
            print(wrong[-1], file=sys.__stderr__, flush=True)
        else:
            asked, fired = asked + questions, first["fired"]

    print(f"{way} {kind}: {at - 1} faults, {asked} questions, {len(wrong)} wrong", file=sys.__stderr__, flush=True)
    assert wrong == []
    assert at > 100


@pytest.mark.faults
def test_pairs_of_faults_end_as_if_there_had_been_none(disturb, undisturbed):
    _pairs(disturb, undisturbed[0], 300)

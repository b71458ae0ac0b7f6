import sys
from collections.abc import Callable

import pytest
from looking import CANARY

from deployguard.masking import Masker
from deployguard.process import Result, base_environment, run
from deployguard.secret import Secret


@pytest.fixture
def command(tmp_path) -> Callable[..., Result]:
    """Run a command in an empty folder; keywords go to `run`."""

    def start(*argv, **given) -> Result:
        usual = {"cwd": tmp_path, "env": base_environment(), "timeout": 20.0, "grace": 0.5}
        return run(argv, **{**usual, "masker": Masker([Secret(CANARY, name="canary")]), **given})

    return start


@pytest.fixture
def shell(command) -> Callable[..., Result]:
    return lambda script, **given: command("sh", "-c", script, **given)


@pytest.fixture
def python(command) -> Callable[..., Result]:
    return lambda script, **given: command(sys.executable, "-c", script, **given)

"""A small sample site for whoever asks; each test gets a copy of its own."""

import pytest
from small_site import build, copied


@pytest.fixture(scope="session")
def pristine_site(tmp_path_factory):
    return build(tmp_path_factory.mktemp("site"))


@pytest.fixture
def site(pristine_site, tmp_path):
    return copied(pristine_site, tmp_path / "site")

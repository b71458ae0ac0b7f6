"""An environment file that git ignores may still be copied into the image."""

import pytest

from deployguard.keys.shipping import shipped_in_image


def shipped(folder, build, ignore="", path=".env"):
    (folder / "Dockerfile").write_text(build)
    (folder / ".dockerignore").write_text(ignore)
    return shipped_in_image(folder)(path)


@pytest.mark.parametrize(
    "build",
    [
        "FROM python\nCOPY . /app\n",
        "copy ./ .\n",
        "ADD --chown=app:app . /app\n",
        'COPY ["./", "/app"]\n',
        "COPY .env /app/\n",
        "COPY manage.py .env* /app/\n",
        "COPY manage.py \\\n  .env /app/\n",
    ],
)
def test_a_file_that_the_build_copies_is_shipped(tmp_path, build):
    assert shipped(tmp_path, build)


@pytest.mark.parametrize(
    "build",
    [
        "FROM python\n",
        "# COPY . /app\n",
        "COPY src /app\n",
        "COPY --from=builder . /app\n",
        "COPY [broken\n",
        "COPY .env.example .\n",
    ],
)
def test_a_file_that_it_does_not_copy_is_not(tmp_path, build):
    assert not shipped(tmp_path, build)


@pytest.mark.parametrize(
    ("ignore", "path", "goes"),
    [
        (".env", ".env", False),
        ("/.env", ".env", False),
        ("*.env", ".env", False),
        ("*.env", "web/.env", True),
        ("**/*.env", "web/.env", False),
        ("**/.env", ".env", False),
        ("secrets", "secrets/a/key", False),
        ("secrets/", "secrets/key", False),
        ("*\n!.env", ".env", True),
        ("!.env\n*", ".env", False),
        ("# .env", ".env", True),
        (".en?", ".env", False),
        (".envrc", ".env", True),
    ],
)
def test_what_the_ignore_file_says_counts_the_last_rule_first(tmp_path, ignore, path, goes):
    assert shipped(tmp_path, "COPY . /app\n", ignore, path) is goes


def test_a_folder_within_a_folder_is_copied_whole(tmp_path):
    assert shipped(tmp_path, "COPY deploy /app\n", path="deploy/env/.env")


def test_without_a_build_file_nothing_is_shipped(tmp_path):
    assert not shipped_in_image(tmp_path)(".env")

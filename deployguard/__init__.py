"""deployguard: a pre-deployment checklist and orchestration runner."""

from importlib.metadata import version as _version


def __getattr__(name: str) -> str:
    # importlib.metadata reads a file: only those who ask for the version pay for it
    if name == "__version__":
        return _version("deployguard")
    raise AttributeError(name)

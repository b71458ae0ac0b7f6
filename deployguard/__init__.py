"""deployguard: a pre-deployment checklist and orchestration runner."""


def __getattr__(name: str) -> str:
    if name == "__version__":
        # importlib.metadata takes longer to import than all of --help: only those who ask pay for it
        from importlib.metadata import version

        return version("deployguard")
    raise AttributeError(name)

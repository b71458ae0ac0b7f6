"""`deployguard version`."""

from deployguard.cli.options import Json


def command(*, json: Json = False) -> None:
    """Print the version.

    Example: deployguard version
    """
    import platform

    from deployguard import __version__
    from deployguard.cli.console import Console

    console = Console(as_json=json)
    if json:
        console.document({"version": __version__, "python": platform.python_version()})
    else:
        console.line(f"deployguard {__version__}")

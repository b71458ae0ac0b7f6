"""`deployguard version`."""

from deployguard.cli.options import Json


def command(*, json: Json = False) -> None:
    """Print the version.

    Example: deployguard version
    """
    import platform  # noqa: PLC0415

    from deployguard import __version__  # noqa: PLC0415
    from deployguard.cli.console import Console  # noqa: PLC0415

    console = Console(as_json=json)
    if json:
        console.document({"version": __version__, "python": platform.python_version()})
    else:
        console.line(f"deployguard {__version__}")

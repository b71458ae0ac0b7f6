"""`deployguard schema`: the runbook's grammar for editors."""


def command() -> None:
    """Print the JSON Schema of runbooks, for completion and checking in editors.

    Example: deployguard schema > runbook.schema.json
    """
    from deployguard.cli.console import Console
    from deployguard.runbook.schema import runbook_schema
    from deployguard.secret_sources import SOURCES
    from deployguard.steps import all_kinds

    Console(as_json=True).document(runbook_schema(all_kinds(), SOURCES))

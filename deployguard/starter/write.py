"""What was found → the text of a runbook, commented for whoever reads it first. Pure."""

import json
import re
import textwrap
from collections.abc import Iterator

from deployguard.starter.look import Found

_PLAIN = re.compile(r"[A-Za-z.][A-Za-z0-9_./-]*")
_SECRET = re.compile("KEY|SECRET|TOKEN|PASSWORD|CREDENTIAL")
_WIDTH = 96


def runbook_text(found: Found) -> str:
    """The runbook. It is valid as it stands; what could not be found out is said at its top."""
    return "\n".join([_head(found), *(_django(found) if found.manage else _anything(found)), _END])


def _head(found: Found) -> str:
    notes = "".join(f"#\n{_comment(f'! {note}')}\n" for note in found.notes)
    return f"""\
# A first runbook for {found.name}, written by 'deployguard init' from what was found here.
# Read it, correct it, and commit it with the code.
#
#   deployguard check                        is this file valid?
#   deployguard preflight --env staging      may we start? (changes nothing)
#   deployguard plan --env staging           what would be done? (changes nothing)
#   deployguard deploy --env staging         do it
{notes}version: 1
name: deploy-{found.name}
summary: {"Encrypt personal data at rest in" if _encrypts(found) else "Deploy"} {found.name}
{_code(found)}"""


def _code(found: Found) -> str:
    if found.remote is None:
        return ""
    return f"""
# The newest commit of this branch is deployed, unless '--set commit=HASH' names another.
code:
  remote: {_value(found.remote)}
  branch: {_value(found.branch or "main")}
"""


def _encrypts(found: Found) -> bool:
    return bool(found.columns or found.packages)


def _anything(found: Found) -> Iterator[str]:
    yield f"environments:\n  staging: {{}}\n  production:\n{_PROMOTED}"
    if found.remote:
        yield "preflight:\n  - uses: git.clean\n"
    yield "steps:"
    if found.remote:
        yield _CODE
    yield _COMMAND


def _django(found: Found) -> Iterator[str]:
    yield _application(found)
    yield 'vars:\n  health_url: ""                 # a page that must answer 200 afterwards; empty: not looked at\n'
    if secrets := _secrets(found):
        yield "# Never written down by deployguard. from: may also be a file, a vault or a cloud's manager.\nsecrets:"
        yield "".join(f"  {name}: {{ from: env, name: {variable} }}\n" for name, variable in secrets.items())
    yield _environments(found)
    yield _preflight(found)
    yield "steps:"
    yield from _steps(found)


def _application(found: Found) -> str:
    given = {*found.settings.required, found.settings.database(), *found.settings.keys()}
    others = [name for name in found.settings.optional if name not in given]
    also = (
        textwrap.indent(_comment(f"the settings also read, where set: {', '.join(others)}"), "    ") if others else ""
    )
    return f"""\
# The application is asked through its own interpreter; it is given these variables and no others.
django:
  manage: {_value(found.manage or "")}
  python: {_value(found.python)}
  env:{textwrap.indent(_variables(found), "    ") or " {}"}
{also}
"""


def _variables(found: Found) -> str:
    """What the application must be given, each on a line of its own."""
    secrets, database = _secrets(found), found.settings.database()
    lines = [f"{variable}: ${{{{ secrets.{name} }}}}" for name, variable in secrets.items()]
    given = {database, *secrets.values()}
    lines += [f"{name}: ${{{{ env.{name} }}}}" for name in found.settings.required if name not in given]
    lines += [f"{database}: ${{{{ vars.database_url }}}}"] if database else []
    return "".join(f"\n{line}" for line in lines)


def _secrets(found: Found) -> dict[str, str]:
    """Secrets by their names in the runbook: the variables that they are in."""
    keys = found.settings.keys()
    named = {"encryption_key": keys[0] if keys else "FIELD_ENCRYPTION_KEY"} if _encrypts(found) else {}
    taken = {found.settings.database(), *named.values()}
    others = [name for name in found.settings.required if _SECRET.search(name) and name not in taken]
    return {**named, **{name.lower(): name for name in others}}


def _environments(found: Found) -> str:
    default = f" | default('sqlite:///{found.database}')" if _names_a_file(found) else ""
    key = _secrets(found).get("encryption_key")
    own = f"    secrets:\n      {_OWN_KEY}\n      encryption_key: {{ from: env, name: STAGING_{key} }}\n" if key else ""
    return f"""\
environments:
  staging:
    directory: ${{{{ env.STAGING_DIRECTORY | default('.') }}}}
    database: ${{{{ vars.database_url }}}}
    vars:
      database_url: ${{{{ env.STAGING_DATABASE_URL{default} }}}}
{own}  production:
    directory: ${{{{ env.PRODUCTION_DIRECTORY | default('.') }}}}
    database: ${{{{ vars.database_url }}}}
    vars:
      database_url: ${{{{ env.DATABASE_URL{default} }}}}
{_PROMOTED.replace(_WITHIN, _WITHIN + _UNTRIED) if _encrypts(found) and not _rehearses(found) else _PROMOTED}"""


def _rehearses(found: Found) -> bool:
    """Whether the change can be tried on a copy: there must be a way to tell the application of it."""
    return _encrypts(found) and found.settings.database() is not None and bool(found.apps)


def _names_a_file(found: Found) -> bool:
    """Whether the application's database is a file that its settings name, whatever the environment says."""
    plain = _PLAIN.fullmatch(found.database.removeprefix("/")) is not None
    return found.engine == "sqlite3" and found.settings.database() is None and plain


def _preflight(found: Found) -> str:
    checks = ["key.check"] * _encrypts(found) + ["git.clean"] * (found.remote is not None) + [*_CHECKS]
    checks += ["encryption.readiness   # the key against the tokens that are there, widths"] * _encrypts(found)
    return f"""\
# All of these run before the first change, and by 'deployguard preflight' at any time.
preflight:
  - uses: disk.space
    with: {{ at_least: 200MiB, factor: 4 }}
{"".join(f"  - uses: {check}{chr(10)}" for check in checks)}"""


def _steps(found: Found) -> Iterator[str]:
    yield _BACKUP
    if found.remote:
        yield _CODE
    if found.requirements:
        named = found.requirements.endswith(".txt") and found.requirements != "requirements.txt"
        file = f"    with: {{ requirements: {_value(found.requirements)} }}\n" if named else ""
        yield f"  - id: dependencies\n    uses: python.install\n{file}"
    migrations = {("migrate" if len(found.apps) == 1 else f"migrate-{app}"): app for app in found.apps}
    database = found.settings.database()
    if _rehearses(found):
        tried = ", ".join([*migrations, "encrypt", "verify"])
        yield f"{_REHEARSE}    with: {{ steps: [{tried}], url_in: {database} }}\n"
    for step, app in migrations.items():
        yield f'  - id: {step}\n    uses: django.migrate\n    with: {{ app: {app}, to: "{found.apps[app]}" }}\n'
    if _encrypts(found):
        yield _ENCRYPT
    if found.tested:
        env = f"    env:{textwrap.indent(_variables(found), '      ')}\n" if _variables(found) else ""
        command = ", ".join(["python", _value(found.manage or ""), "test", *found.tested])
        yield f"  - id: tests\n    run: [{command}]\n{env}    timeout: 10m\n    idempotent: true\n"
    yield _HEALTH


_CHECKS = ("database.reachable", "database.quiet", "clock.skew", "folder.private", "tools.present", "django.check")
_OWN_KEY = "# staging has a key of its own: whoever can read staging cannot read production"
_WITHIN = "      within: 7d\n"
_UNTRIED = """\
      # let the settings read the database's URL from the environment, and add a step uses: rehearse
      without_rehearsal: the application cannot be told to stand on a copy
"""
_PROMOTED = f"""\
    requires:
      promoted_from: staging       # the same commit and the same runbook must have succeeded there
{_WITHIN}\
    on_failure: rollback           # rollback | stop | ask
"""
_CODE = """\
  - id: code
    uses: git.update
"""
_COMMAND = """\
  # One step for each command. One that may be run twice without harm says idempotent: true; one that
  # cannot has a check: that tells whether it is done. rollback: { run: … } says what undoes it.
  - id: deploy
    run: echo "put the command here"
    idempotent: true
"""
_BACKUP = """\
  # counts only once it has been restored and compared; recipients: of two public keys have it encrypted
  - id: backup
    uses: backup.create
    with:
      verify: restore
      plain_reason: the backup stays on the machine that holds the same data in plain
    rollback: { uses: backup.restore, when: requested }
"""
_REHEARSE = """\
  # the whole change, there and back, on a scratch copy of the real data
  - id: rehearse
    uses: rehearse
"""
_ENCRYPT = """\
  # what only the new code can answer: who searches by a column that will be random bytes, and whether all fits
  - id: usage
    uses: encryption.usage
    with: { on_use: warn }

  - id: readiness
    uses: encryption.readiness
    with: { required: true }

  - id: dry-run
    uses: encryption.plan

  # in batches, beside the running application; undone byte for byte
  - id: encrypt
    uses: encryption.encrypt
    retry: { attempts: 5, backoff: exponential, max_delay: 60s }

  # every row, not the first
  - id: verify
    uses: encryption.verify
"""
_HEALTH = """\
  - id: health
    uses: http
    if: vars.health_url
    with: { url: "${{ vars.health_url }}", status: 200 }
"""
_END = """\
after:
  checklist:
    - Watch the error rates
    - { task: Destroy backups that are no longer needed, due: +30d }

report:
  formats: [md, html]
  to: reports/
"""


def _value(text: str) -> str:
    """A scalar: plain where nobody can read it as anything but text."""
    return text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False)


def _comment(text: str) -> str:
    return "\n".join(f"# {line}" for line in textwrap.wrap(" ".join(text.split()), _WIDTH, break_long_words=False))

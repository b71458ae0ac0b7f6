"""What a runbook may say: one class per part, its fields are the keys, its docstrings the help in editors."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, WithJsonSchema, model_validator

from deployguard.runbook.expressions import words_of
from deployguard.runbook.quantities import Duration

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_.-]{0,99}$")]
Scalar = str | int | float | bool
Value = Scalar | list[Scalar]
OnFailure = Literal["rollback", "stop", "ask"]
Matrix = Annotated[
    Any,  # what is wrong with it is said by matrix.py, with the line and a hint
    WithJsonSchema(
        {
            "type": "object", "minProperties": 1, "maxProperties": 1,
            "additionalProperties": {
                "anyOf": [
                    {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"type": ["string", "integer"]}},
                    {"type": "string", "pattern": r"\$\{\{"},
                ]
            },
        }
    ),
]  # fmt: skip


class Part(BaseModel):
    """A part of a runbook: unknown keys are errors, values do not change after reading."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=False, populate_by_name=True, coerce_numbers_to_str=False
    )


class Code(Part):
    """Where the application's code comes from."""

    remote: str = "origin"
    branch: str = "main"


class Django(Part):
    """How to reach the application through its own interpreter."""

    manage: str = "manage.py"
    """Path of manage.py, from the environment's directory."""
    python: str = ".venv/bin/python"
    """The application's interpreter, from the environment's directory."""
    env: dict[str, str] = {}
    """Environment variables that the application needs; secrets may stand here."""
    database_in: Name | None = None
    """The variable that the application takes its database's URL from: it is given a step's own `database:` there."""


class SecretFrom(BaseModel):
    """Where a secret is fetched from; the other keys belong to the source."""

    model_config = ConfigDict(extra="allow", frozen=True, populate_by_name=True)

    source: str = Field(alias="from")


class Command(Part):
    """A command of the site's own."""

    run: str | list[str]
    """Split into words as a shell would, but not given to one."""
    shell: bool = False
    """Give it to /bin/sh; then no expression may stand in it."""
    env: dict[str, str] = {}
    """What it needs; secrets may stand here."""
    timeout: Duration | None = None

    @model_validator(mode="after")
    def _can_be_run(self) -> Self:
        words_of(self.run, shell=self.shell)
        return self


class Rotation(Part):
    """When the field-encryption key is changed, and what `deployguard keys rotate` has the site do."""

    every: Duration | None = None
    """How old a key may become; preflight says when it is due."""
    add: Command | None = None
    """Gives the running application all keys of the list, the newest first, and restarts it."""
    remove: Command | None = None
    """Leaves the running application the newest key alone, and restarts it."""


class Encryption(Part):
    """Which secrets are the field-encryption keys, newest first."""

    keys: list[str] = ["encryption_key"]
    rotation: Rotation = Rotation()


class Requires(Part):
    """What must be so before anything runs in an environment."""

    promoted_from: str | None = None
    """An environment in which the same commit and runbook succeeded."""
    within: Duration = 7 * 86400.0
    """How old that success may be."""
    without_rehearsal: str = ""
    """With `promoted_from`: why rows may be rewritten there without a step `rehearse` that tries it on a copy."""
    approvals: Annotated[int, Field(ge=0, le=20)] = 0
    """How many people must approve each run, before its first step."""
    approvers: list[str] = []
    """Who may; anybody but the starter where nobody is named."""
    window: str | None = None
    """When steps may begin: `Mon-Thu 09:00-16:00 Europe/Berlin`."""


class Environment(Part):
    """A named target."""

    directory: str = "."
    """The working copy that runs there, from the runbook's folder."""
    database: str | None = None
    """URL of the database: sqlite:///file, postgresql://…, mysql://…"""
    replicas: list[str] = []
    """URLs of databases that copy it: row work waits while one falls behind. PostgreSQL's primary knows its own."""
    vars: dict[str, Value] = {}
    secrets: dict[str, SecretFrom] = {}
    """Secrets that are kept elsewhere than the runbook's own list says."""
    requires: Requires = Requires()
    on_failure: OnFailure = "rollback"


class Retry(Part):
    """When and how often a failed step is tried again."""

    attempts: Annotated[int, Field(ge=1, le=100)] = 3
    backoff: Literal["fixed", "exponential"] = "exponential"
    delay: Duration = 1.0
    max_delay: Duration = 60.0
    total: Duration | None = None
    """No further attempt begins after this long."""
    retry_on: list[str] = []
    """Any of: timeout, connection, exit:CODE, pattern:REGEX. Empty: every failure."""


class Compensation(Part):
    """What undoes the step, instead of what its kind would do."""

    uses: str | None = None
    run: str | list[str] | None = None
    with_: dict[str, Any] = Field({}, alias="with")
    env: dict[str, str] = {}
    timeout: Duration | None = None
    when: Literal["failure", "requested"] = "failure"
    """`requested`: only when a person asks for it (rollback --via restore)."""


class StepSpec(Part):
    """One unit of work: `uses: KIND` with `with:`, or `run: COMMAND`."""

    id: Name = ""
    uses: str | None = None
    with_: dict[str, Any] = Field({}, alias="with")
    run: str | list[str] | None = None
    """A command, split into words as a shell would, but not given to one."""
    shell: bool = False
    """Give the command to /bin/sh; then no expression may stand in it."""
    check: str | list[str] | None = None
    """For `run`: a command that exits 0 when the work is already done."""
    idempotent: bool | None = None
    """For `run`: running it twice is the same as running it once."""
    outputs: list[Name] = []
    """For `run`: names the command writes as NAME=VALUE lines to the file $DEPLOYGUARD_OUTPUT."""
    summary: str = ""
    env: dict[str, str] = {}
    files: dict[str, str] = {}
    """NAME: text; the text goes to a 0600 file whose path is in the variable NAME."""
    cwd: str | None = None
    database: str | None = None
    """URL of the database this step works on, instead of the environment's; secrets may stand here."""
    matrix: Matrix | None = None
    """NAME: list. The step runs once for each item, which it sees as `${{ matrix.NAME }}`."""
    max_parallel: Annotated[int, Field(ge=1, le=100)] = 1
    """How many items of a matrix are worked on at the same time."""
    condition: str | None = Field(None, alias="if")
    needs: list[str] = []
    timeout: Duration | None = None
    retry: Retry = Retry(attempts=1)
    continue_on_error: bool = False
    on_failure: OnFailure | None = None
    rollback: Compensation | None = None

    @model_validator(mode="before")
    @classmethod
    def _default_id(cls, data: Any) -> Any:  # noqa: ANN401
        # a check is its own name where it stands only once; steps that others refer to are named
        if isinstance(data, dict) and "id" not in data and isinstance(data.get("uses"), str):
            return {**data, "id": data["uses"]}
        return data


class Task(Part):
    """Something for a person to do afterwards."""

    task: str
    due: str | None = None
    """`+180d` from the end of the run, or a date YYYY-MM-DD."""


class After(Part):
    """What follows a success."""

    checklist: list[str | Task] = []


class ReportSpec(Part):
    """Where reports go."""

    formats: list[Literal["md", "html"]] = ["md", "html"]
    to: str = "reports/"


class Runbook(Part):
    """The whole file."""

    version: Literal[1]
    name: str
    summary: str = ""
    code: Code | None = None
    django: Django | None = None
    vars: dict[str, Value] = {}
    secrets: dict[str, SecretFrom] = {}
    encryption: Encryption = Encryption()
    environments: Annotated[dict[Name, Environment], Field(min_length=1)]
    preflight: list[StepSpec] = []
    steps: list[StepSpec] = []
    after: After = After()
    report: ReportSpec = ReportSpec()
    notify: list[str] = []
    """Whom to tell of each turn of a run: apprise URLs; expressions and secrets may stand in them."""

"""Settings of classes that make Django look at a column's content: models, admin, forms, views, serializers."""

import ast
from collections.abc import Iterable, Iterator

from deployguard.source.base import Use, argument, constants, last_name
from deployguard.source.models import Model, assigned
from deployguard.source.queries import Queries, Report
from deployguard.source.scope import About, Scope

# class attributes that name fields, and what becomes of these
_SETTINGS = {
    "search_fields": "searches",
    "list_filter": "filters on",
    "ordering": "orders by",
    "ordering_fields": "orders by",
    "sortable_by": "orders by",
    "date_hierarchy": "filters on",
    "filterset_fields": "filters on",
    "filter_fields": "filters on",
    "lookup_field": "looks up by",
    "slug_field": "looks up by",
}
_META = {
    "ordering": "orders by",
    "get_latest_by": "orders by",
    "unique_together": "makes unique",
    "index_together": "indexes",
    "order_with_respect_to": "orders by",
}
_FLAGS = {"unique": "makes unique", "db_index": "indexes", "primary_key": "makes unique"}
_FOR_DATE = ("unique_for_date", "unique_for_month", "unique_for_year")


class Classes:
    """Reads the classes of one file."""

    def __init__(self, scope: Scope, file: str, report: Report, admins: dict[str, Model]) -> None:
        self._scope, self._file, self._report, self._admins = scope, file, report, admins

    def read(self, node: ast.ClassDef, around: Model | None = None) -> None:
        """One class, and those inside it."""
        model, manages = self._scope.registry.declared(node), self._managed(node)
        owner = model or manages or self._owner(node) or around
        if model is not None:
            self._fields(node, model)
        elif owner is not None:
            self._settings(node.body, owner, _SETTINGS)
        self._validators(node.body)
        own = {"self": About(owner, many=model is None), "cls": About(owner)} if owner and (model or manages) else None
        inner = Classes(self._scope.inside(owner, own), self._file, self._report, self._admins)
        inner.body(node, owner, is_model=model is not None)

    def body(self, node: ast.ClassDef, owner: Model | None, *, is_model: bool) -> None:
        """What stands inside a class."""
        queries = Queries(self._scope, self._file, self._report)
        filters = any(last_name(base).endswith("FilterSet") for base in node.bases)
        for statement in node.body:
            if not isinstance(statement, ast.ClassDef):
                queries.visit(statement)
            elif statement.name != "Meta":
                self.read(statement, owner)
            elif owner is not None:
                self._validators(statement.body)
                self._meta(statement, owner, _META if is_model else {"fields": "filters on"} if filters else {})

    def _validators(self, body: Iterable[ast.stmt]) -> None:
        """Those of serializers, which look whether a value is there already."""
        for statement in body:
            name, value = assigned(statement)
            for call in (each for each in ast.walk(value or statement) if isinstance(each, ast.Call) and value):
                about = self._scope.about(argument(call, "queryset", 0))
                if about and last_name(call.func) == "UniqueValidator":
                    self._names(call, [(name, call.lineno)], about.model, "makes unique")
                if about and last_name(call.func) == "UniqueTogetherValidator":
                    self._names(call, constants(argument(call, "fields", 1)), about.model, "makes unique")

    def _owner(self, node: ast.ClassDef) -> Model | None:
        """The model that a class says it is for: in its decorator, `model =`, `queryset =`, or Meta."""
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and last_name(decorator.func) == "register":
                about = self._scope.about(decorator.args[0]) if decorator.args else None
                if about:
                    return about.model
        if node.name in self._admins:
            return self._admins[node.name]
        for statement in node.body:
            name, value = assigned(statement)
            if name in {"model", "queryset"} and (about := self._scope.about(value)):
                return about.model
            if isinstance(statement, ast.ClassDef) and statement.name == "Meta" and (inner := self._owner(statement)):
                return inner
        return None

    def _managed(self, node: ast.ClassDef) -> Model | None:
        found = [m for m in self._scope.registry.all() if node.name in m.managers]
        return found[0] if len(found) == 1 else None

    def _fields(self, node: ast.ClassDef, model: Model) -> None:
        for statement in node.body:
            name, value = assigned(statement)
            if not isinstance(value, ast.Call):
                if name == "USERNAME_FIELD":
                    self._names(statement, constants(value), model, "logs in by")
                continue
            for flag, verb in _FLAGS.items():
                given = argument(value, flag)
                if isinstance(given, ast.Constant) and given.value is True:
                    self._names(statement, [(name, statement.lineno)], model, verb)
            for flag in _FOR_DATE:
                if argument(value, flag) is not None:
                    self._names(statement, [(name, statement.lineno)], model, "makes unique")
            there = self._scope.registry.related(model, name)
            if there:
                self._names(statement, constants(argument(value, "to_field")), there[0], "joins on")

    def _settings(self, body: Iterable[ast.stmt], owner: Model, settings: dict[str, str]) -> None:
        for statement in body:
            name, value = assigned(statement)
            if name in settings:
                self._names(statement, _field_names(value), owner, settings[name])

    def _meta(self, node: ast.ClassDef, owner: Model, settings: dict[str, str]) -> None:
        self._settings(node.body, owner, settings)
        for statement in node.body:
            name, value = assigned(statement)
            if name in {"indexes", "constraints"} and value is not None:
                for call in (each for each in ast.walk(value) if isinstance(each, ast.Call)):
                    self._constraint(call, owner)

    def _constraint(self, call: ast.Call, owner: Model) -> None:
        kind = last_name(call.func)
        verb = "makes unique" if kind == "UniqueConstraint" else "indexes" if kind.endswith("Index") else "constrains"
        for name in ("fields", "include"):
            self._names(call, constants(argument(call, name)), owner, verb)
        if not kind.endswith(("Q", "Constraint", "Index")):  # an expression, such as Lower("email")
            self._names(call, [each for part in call.args for each in constants(part)], owner, "constrains")
        if kind == "Q":
            names = [(k.arg, call.lineno) for k in call.keywords if k.arg and not k.arg.endswith("__isnull")]
            self._names(call, names, owner, "constrains")

    def _names(self, node: ast.stmt | ast.expr, names: Iterable[tuple[str, int]], model: Model, verb: str) -> None:
        for name, line in names:
            column = self._scope.registry.wanted(model, name.lstrip("-+^=@"))
            if column:
                self._report(Use(self._file, line or node.lineno, verb, column.name))


def _field_names(value: ast.expr | None) -> Iterator[tuple[str, int]]:
    """Names in a list, in pairs of a name and a filter class, and as keys."""
    if isinstance(value, ast.Dict):
        for key in value.keys:
            yield from constants(key)
        return
    yield from constants(value)


def registered_admins(scope: Scope, tree: ast.Module) -> Iterator[tuple[str, Model]]:
    """Admin classes and their models, of `admin.site.register(Model, AdminClass)`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and last_name(node.func) == "register" and len(node.args) > 1:
            models = node.args[0].elts if isinstance(node.args[0], (ast.List, ast.Tuple)) else [node.args[0]]
            for each in models:
                about = scope.about(each)
                if about and (name := last_name(node.args[1])):
                    yield name, about.model

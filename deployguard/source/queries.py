"""Places in code that ask the database to look at a column's content."""

import ast
from collections.abc import Callable, Iterator

from deployguard.source.base import Column, Use, argument, constants, last_name
from deployguard.source.models import Model
from deployguard.source.scope import About, Scope
from deployguard.source.sql import mentioned, text_of

Report = Callable[[Use], None]
_GETS = ("get", "aget", "get_or_create", "aget_or_create", "update_or_create", "aupdate_or_create")
_FILTERS = {
    "filter",
    "exclude",
    *_GETS,
    "get_object_or_404",
    "get_list_or_404",
    "aget_object_or_404",
    "aget_list_or_404",
}
_TEXT_ORDERS = {"order_by", "latest", "earliest", "alatest", "aearliest"}
_GROUPS = {"annotate", "aggregate", "aaggregate", "alias"}
_RAW = {"raw", "execute", "executemany", "extra", "RawSQL", "RunSQL"}
_SHORTCUTS = {name for name in _FILTERS if "404" in name}
# settings of a call that has a column's name as its value: what it does with it
_NAMED = {"to_field_name": "looks up by", "slug_field": "looks up by", "field_name": "looks up by"}
# they count rows, or hand the whole value through to where it is decrypted
_HARMLESS = {"Value", "Prefetch", "Exists", "Subquery", "When", "Case", "Q", "models", "Window"}
_DECLARES = ("Field", "Key", "Index", "Constraint", "Manager", "Choices", "Model", "QuerySet")


class Queries(ast.NodeVisitor):
    """Visits a function's or a module's code; classes are somebody else's."""

    def __init__(self, scope: Scope, file: str, report: Report) -> None:
        self._scope, self._file, self._report = scope, file, report
        self._around: list[About | None] = []

    # -- what names mean

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        """A scope of its own."""
        scope = self._scope.inside(self._scope.owner)
        for each in [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]:
            if each.arg not in {"self", "cls"}:
                scope.learn(ast.Name(each.arg), scope.parameter(each))
        inner = Queries(scope, self._file, self._report)
        for part in [*node.decorator_list, *node.body]:
            inner.visit(part)

    visit_AsyncFunctionDef = visit_FunctionDef  # noqa: N815 - the names are ast's

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        """Left to who knows what the class is for."""

    def visit_Assign(self, node: ast.Assign) -> None:
        """Remember what a name is about."""
        self.generic_visit(node)
        for target in node.targets:
            self._scope.learn(target, self._scope.about(node.value))

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        """Likewise."""
        self.generic_visit(node)
        if node.value is not None:
            self._scope.learn(node.target, self._scope.about(node.value))

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        """Each is one of them."""
        self._loop(node.target, node.iter)
        self.generic_visit(node)

    visit_AsyncFor = visit_For  # noqa: N815

    def visit_comprehension(self, node: ast.comprehension) -> None:
        """Likewise."""
        self._loop(node.target, node.iter)
        self.generic_visit(node)

    def _loop(self, target: ast.expr, rows: ast.expr) -> None:
        about = self._scope.about(rows)
        self._scope.learn(target, About(about.model, many=False) if about else None)

    def _visit_parts(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> None:
        for each in node.generators:  # they come first in time, though last in the text
            self.visit(each)
        for part in [node.key, node.value] if isinstance(node, ast.DictComp) else [node.elt]:
            self.visit(part)

    visit_ListComp = visit_SetComp = visit_GeneratorExp = visit_DictComp = _visit_parts  # noqa: N815

    # -- what is asked

    def visit_Call(self, node: ast.Call) -> None:
        """One call: a query method, an expression, SQL, or none of these."""
        name = last_name(node.func)
        about = self._subject(node, name)
        if name in _SHORTCUTS or (isinstance(node.func, ast.Attribute) and name not in self._scope.expressions):
            self._method(node, name, about)
        if name in _RAW:
            self._sql(node, about)
        elif name in {"Q", "FilteredRelation"}:
            self._lookups(node, about, "filters on")
        elif self._is_expression(node, name):
            self._texts(node, node.args, self._outer() if name == "OuterRef" else about, _verb(name))
        for setting, verb in _NAMED.items():
            self._texts(node, [v for v in [argument(node, setting)] if v], about, verb)
        self._inside(node, about)

    def _method(self, node: ast.Call, name: str, about: About | None) -> None:
        if name in _FILTERS:
            self._lookups(node, about, "filters on")
        elif name in _TEXT_ORDERS:
            self._texts(node, node.args, about, "orders by")
        elif name in {"dates", "datetimes"}:
            self._texts(node, node.args[:1], about, "orders by")
        elif name == "distinct":
            self._distinct(node, about)
        elif name in _GROUPS:
            self._groups(node, about)
        elif name in {"update", "aupdate"}:
            self._updates(node, about)

    def _subject(self, node: ast.Call, name: str) -> About | None:
        if name in _SHORTCUTS:
            return self._scope.about(argument(node, "klass", 0))
        receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
        told = self._scope.about(receiver) if receiver is not None else None
        if told is None and (queryset := argument(node, "queryset")) is not None:
            told = self._scope.about(queryset)
        return told or (self._around[-1] if self._around and name not in _FILTERS else None)

    def _inside(self, node: ast.Call, about: About | None) -> None:
        self.visit(node.func)
        self._around.append(about or (self._around[-1] if self._around else None))
        for part in [*node.args, *(keyword.value for keyword in node.keywords)]:
            self.visit(part)
        self._around.pop()

    def _is_expression(self, node: ast.Call, name: str) -> bool:
        if name in _HARMLESS or name.endswith(_DECLARES) or (name == "Count" and not argument(node, "distinct")):
            return False
        owner = node.func.value if isinstance(node.func, ast.Attribute) else None
        return name in self._scope.expressions or (owner is not None and last_name(owner) in {"models", "functions"})

    def _lookups(self, node: ast.Call, about: About | None, verb: str) -> None:
        for path, value in _keywords(node):
            parts = path.split("__")
            none = isinstance(value, ast.Constant) and value.value is None
            if parts[-1] != "isnull" and not none and path != "defaults":
                self._path(node, path, about, verb)

    def _texts(self, node: ast.Call, parts: list[ast.expr], about: About | None, verb: str) -> None:
        for part in parts:
            for text, line in constants(part):
                self._path(node, text.lstrip("-+"), about, verb, line)

    def _updates(self, node: ast.Call, about: About | None) -> None:
        """A plain value goes through the field, which encrypts it; an expression does not."""
        for path, value in _keywords(node):
            names = {last_name(each.func) for each in ast.walk(value) if isinstance(each, ast.Call)}
            if about and names & (self._scope.expressions | {"F"}):
                self._path(node, path, about, "writes plaintext to")

    def _outer(self) -> About | None:
        """What the query around the innermost one is about."""
        known = [about for about in self._around if about is not None]
        return next((about for about in reversed(known) if about.model is not known[-1].model), None)

    def _distinct(self, node: ast.Call, about: About | None) -> None:
        self._texts(node, node.args, about, "tells apart by")
        if not node.args:
            for values in _earlier(node, {"values", "values_list"}):
                self._texts(values, values.args, about, "tells apart by")

    def _groups(self, node: ast.Call, about: About | None) -> None:
        for values in _earlier(node, {"values", "values_list"}):
            self._texts(values, values.args, about, "groups by")
        bare = last_name(node.func).endswith("aggregate")
        self._texts(node, node.args if bare else [], about, "aggregates")

    def _sql(self, node: ast.Call, about: About | None) -> None:
        texts = [k.value for k in node.keywords if k.arg not in {"params", "select_params", "param_list"}]
        for part in [*node.args[:1], *texts]:
            for each in ast.walk(part):
                if isinstance(each, (ast.Constant, ast.JoinedStr)) and (text := text_of(each)):
                    table = about.model if about and last_name(node.func) in {"extra", "raw"} else None
                    self._in_sql(each, text, table)

    def _in_sql(self, node: ast.Constant | ast.JoinedStr, text: str, model: Model | None) -> None:
        for column in self._scope.registry.columns:
            own = model is not None and self._scope.registry.column(model, column.field) == column
            if mentioned(text, column, own_table=own):
                self._report(Use(self._file, node.lineno, "names in SQL", column.name))

    def _path(self, node: ast.Call, path: str, about: About | None, verb: str, line: int = 0) -> None:
        for column, sure in self._columns(path, about):
            self._report(Use(self._file, line or node.lineno, verb, column.name, sure))

    def _columns(self, path: str, about: About | None) -> Iterator[tuple[Column, bool]]:
        if about is not None:
            column = self._scope.registry.wanted(about.model, path)
            if column:
                yield column, True
            return
        for column in self._scope.registry.guessed(path):
            yield column, False


def _keywords(node: ast.Call) -> Iterator[tuple[str, ast.expr]]:
    for keyword in node.keywords:
        if keyword.arg:
            yield keyword.arg, keyword.value
        elif isinstance(keyword.value, ast.Dict):  # **{"email__iexact": value}
            for key, value in zip(keyword.value.keys, keyword.value.values, strict=True):
                yield from ((text, value) for text, _ in constants(key))


def _earlier(node: ast.Call, names: set[str]) -> Iterator[ast.Call]:
    """Calls of a chain before this one."""
    here: ast.expr = node.func
    while isinstance(here, (ast.Attribute, ast.Call)):
        if isinstance(here, ast.Call):
            if last_name(here.func) in names:
                yield here
            here = here.func
        else:
            here = here.value


def _verb(name: str) -> str:
    return {"F": "computes with", "OuterRef": "joins on"}.get(name, f"computes {name} of")

"""Which model an expression is about, as far as the source says it."""

import ast
from collections.abc import Mapping
from typing import NamedTuple

from deployguard.source.base import Module, argument, constants, last_name
from deployguard.source.models import Model, Registry

_ONE = {"get", "first", "last", "latest", "earliest", "create", "aget", "afirst", "alast", "acreate"}
_SHORTCUTS = {"get_object_or_404", "aget_object_or_404"}
_LIST_SHORTCUTS = {"get_list_or_404", "aget_list_or_404"}
_SETS = {"queryset", "qs"}
_NOT_ROWS = {"aggregate", "count", "exists", "delete", "update", "aaggregate", "acount", "aexists"}


class About(NamedTuple):
    """Rows of a model: one of them, or a set."""

    model: Model
    many: bool = True


class Scope:
    """The names of a file and, within functions and classes, their own."""

    def __init__(self, registry: Registry, module: Module) -> None:
        self.registry = registry
        self._module = module
        self._names: dict[str, About] = {}
        self._origins: dict[str, str] = {}
        self.expressions: set[str] = set()
        """Names that come from Django's query expressions."""
        self.owner: Model | None = None
        """The model that the class around is for: an admin's, a form's, a manager's, a view's."""
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom):
                self._imported(node)

    def inside(self, owner: Model | None, names: Mapping[str, About] | None = None) -> "Scope":
        """The scope of a class or function in here."""
        inner = object.__new__(Scope)
        inner.__dict__ = {**self.__dict__, "owner": owner, "_names": {**self._names, **(names or {})}}
        return inner

    def learn(self, target: ast.expr, about: About | None) -> None:
        """A name was given a value; one that is about nothing known takes away what was known."""
        if isinstance(target, ast.Name):
            if about is None:
                self._names.pop(target.id, None)
            else:
                self._names[target.id] = about
        elif isinstance(target, (ast.Tuple, ast.List)):
            for each in target.elts:
                self.learn(each, None)

    def parameter(self, each: ast.arg) -> About | None:
        """What a function's parameter is about: by its annotation, or by the name that Django gives it."""
        annotation = _annotation(each)
        if isinstance(annotation, ast.Subscript):
            model = self._model(annotation.slice)
            return About(model) if model else None
        if annotation is not None and (model := self._model(annotation)):
            return About(model, many=False)
        return About(self.owner) if self.owner and each.arg in _SETS else None

    def about(self, node: ast.expr | None) -> About | None:
        """The model that an expression gives rows of; None where that cannot be told."""
        if isinstance(node, ast.Name):
            model = None if node.id in self._names else self._model(node)
            return self._names.get(node.id) or (About(model) if model else None)
        if isinstance(node, ast.Attribute):
            return self._attribute(node)
        if isinstance(node, ast.Call):
            return self._call(node)
        if isinstance(node, ast.Subscript):
            inner = self.about(node.value)
            return inner and About(inner.model, isinstance(node.slice, ast.Slice))
        if isinstance(node, (ast.Await, ast.NamedExpr)):
            return self.about(node.value)
        if isinstance(node, ast.IfExp):
            return self.about(node.body) or self.about(node.orelse)
        if isinstance(node, ast.BinOp):
            return self.about(node.left)
        return None

    def _attribute(self, node: ast.Attribute) -> About | None:
        if self._is_own(node.value):
            own = node.attr in {"model", "queryset", "object", "instance", "object_list"}
            return About(self.owner, node.attr not in {"object", "instance"}) if self.owner and own else None
        outer = self.about(node.value)
        if outer is None:
            back = self._model(node) or self.registry.back(node.attr)
            return About(back) if back else None
        if outer.many:
            return outer  # a manager of the class, whatever its name
        related = self.registry.related(outer.model, node.attr)
        return About(*related) if related else None

    def _call(self, node: ast.Call) -> About | None:
        name = last_name(node.func)
        if name in _SHORTCUTS | _LIST_SHORTCUTS:
            found = self.about(argument(node, "klass", 0))
            return found and About(found.model, name in _LIST_SHORTCUTS)
        if name == "get_user_model":
            user = self.registry.user()
            return About(user) if user else None
        if name == "get_model":
            words = [text for part in node.args for text, _ in constants(part)]
            model = self.registry.find(".".join(words)) if words else None
            return About(model) if model else None
        if not isinstance(node.func, ast.Attribute):
            model = self._model(node.func)
            return About(model, many=False) if model else None
        if name in _NOT_ROWS:
            return None
        own = isinstance(node.func.value, ast.Call) and last_name(node.func.value.func) == "super"
        if own or self._is_own(node.func.value):
            return About(self.owner) if self.owner and ("queryset" in name or name in {"filter", "all"}) else None
        outer = self.about(node.func.value)
        return outer and About(outer.model, name not in _ONE)

    def _is_own(self, node: ast.expr) -> bool:
        """Of a class that is neither a model nor its manager: an admin, a form, a view."""
        return isinstance(node, ast.Name) and node.id in {"self", "cls"} and node.id not in self._names

    def _model(self, node: ast.expr) -> Model | None:
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            return self.registry.find(node.value, self._module.app)
        if isinstance(node, ast.Name):
            return self.registry.find(self._origins.get(node.id, f"{self._module.app}.{node.id}"))
        if isinstance(node, ast.Attribute):  # web.models.Profile, or models.Profile where web.models was imported
            parts = [part for part in self._dotted(node.value) if part != "models"]
            return self.registry.find(".".join([*parts[-1:], node.attr]))
        return None

    def _dotted(self, node: ast.expr) -> list[str]:
        if isinstance(node, ast.Attribute):
            return [*self._dotted(node.value), node.attr]
        return self._origins.get(node.id, node.id).split(".") if isinstance(node, ast.Name) else []

    def _imported(self, node: ast.ImportFrom) -> None:
        source = node.module or ""
        django = source.startswith("django.")
        # "web.models" and ".models" name the application; a module "models" of a package does too
        parts = [part for part in source.partition("models")[0].split(".") if part]
        app = parts[-1] if parts else self._module.app
        for each in node.names:
            local = each.asname or each.name
            if django:
                self._origins[local] = ""
                if source.startswith(("django.db", "django.contrib.postgres")):
                    self.expressions.add(local)
            else:
                self._origins[local] = f"{app}.{each.name}"


def _annotation(each: ast.arg) -> ast.expr | None:
    """A parameter's annotation, also where it is written as text."""
    if isinstance(each.annotation, ast.Constant) and isinstance(each.annotation.value, str):
        try:
            return ast.parse(each.annotation.value, mode="eval").body
        except SyntaxError:
            return None
    return each.annotation

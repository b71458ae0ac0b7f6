"""Models, their fields and relations, as the source declares them."""

import ast
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from deployguard.source.base import Column, Module, argument, constants, last_name

_RELATIONS = {"ForeignKey", "OneToOneField", "ManyToManyField", "ParentalKey", "TreeForeignKey"}
_TO_ONE = {"ForeignKey", "OneToOneField", "ParentalKey", "TreeForeignKey"}


@dataclass
class Model:
    """A model class.

    Attributes:
        relations: name of a field, or of the way back, to the name of the model there.
        many: those of them that lead to several rows.
        managers: classes of the managers that are made in its body.
    """

    app: str
    name: str
    bases: tuple[str, ...]
    node: ast.ClassDef
    module: Module
    fields: set[str] = field(default_factory=set)
    relations: dict[str, str] = field(default_factory=dict)
    many: set[str] = field(default_factory=set)
    managers: set[str] = field(default_factory=set)

    @property
    def label(self) -> str:
        """app.Model."""
        return f"{self.app}.{self.name}"


class Registry:
    """All models of an application, by name, and which of their fields are of interest."""

    def __init__(self, modules: Iterable[Module], columns: Sequence[Column]) -> None:
        self._models: dict[str, list[Model]] = {}
        for model in _models(modules):
            self._models.setdefault(model.name, []).append(model)
        self._add_ways_back()
        self._wanted = {place: c for c in columns for place in self._places(c)}
        self._nodes = {id(model.node): model for model in self.all()}
        self.columns = tuple(columns)

    def all(self) -> Iterator[Model]:
        """Every model."""
        for same_name in self._models.values():
            yield from same_name

    def declared(self, node: ast.ClassDef) -> Model | None:
        """The model that a class is."""
        return self._nodes.get(id(node))

    def find(self, name: str, app: str = "") -> Model | None:
        """A model by its name; `app` decides between several of one name."""
        found = self._models.get(name.rpartition(".")[2], [])
        app = name.rpartition(".")[0] or app
        return next((m for m in found if m.app == app), found[0] if len(found) == 1 else None)

    def wanted(self, model: Model, path: str) -> Column | None:
        """The column of interest that a lookup path of a model leads to: `donor__email__icontains`."""
        here: Model | None = model
        for part in path.split("__"):
            if here is None:
                return None
            there = self._relation(here, part)
            if there is None:
                return self.column(here, part)
            here = there
        return None

    def guessed(self, path: str) -> list[Column]:
        """Columns of interest that a path fits by its names alone."""
        parts = path.split("__")
        found = []
        for column in self.columns:
            if column.field in parts:
                before = parts[: parts.index(column.field)]
                if not before or before[-1] in self._ways_to(column):
                    found.append(column)
        return found

    def column(self, model: Model, name: str) -> Column | None:
        """The column of interest that a field of a model is, its parents' fields included."""
        for each in self.lineage(model):
            if (each.label, name) in self._wanted:
                return self._wanted[each.label, name]
        return None

    def related(self, model: Model, name: str) -> tuple[Model, bool] | None:
        """The model that an attribute of a model's object leads to, and whether to many rows."""
        for each in self.lineage(model):
            if name in each.relations and (there := self.find(each.relations[name], each.app)):
                return there, name in each.many
        return None

    def back(self, attribute: str) -> Model | None:
        """The one model whose rows an attribute such as `donation_set` or a related_name gives, where it is one."""
        found = {
            there.label: there
            for model in self.all()
            if attribute in model.many and (there := self.find(model.relations[attribute], model.app))
        }
        return next(iter(found.values())) if len(found) == 1 else None

    def lineage(self, model: Model) -> Iterator[Model]:
        """The model and its parents."""
        seen: set[str] = set()
        waiting = [model]
        while waiting:
            each = waiting.pop(0)
            if each.label not in seen:
                seen.add(each.label)
                yield each
                waiting += [parent for base in each.bases if (parent := self.find(base, each.app))]

    def user(self) -> Model | None:
        """The model that get_user_model() gives, where the source has exactly one."""
        users = [m for m in self.all() if {"AbstractUser", "AbstractBaseUser"} & set(m.bases)]
        return users[0] if len(users) == 1 else None

    def _relation(self, model: Model, part: str) -> Model | None:
        found = self.related(model, part.removesuffix("_set") if part.endswith("_set") else part)
        return found[0] if found else None

    def _ways_to(self, column: Column) -> set[str]:
        name = column.model.rpartition(".")[2]
        return {way for model in self.all() for way, there in model.relations.items() if there.endswith(name)}

    def _places(self, column: Column) -> Iterator[tuple[str, str]]:
        """The model, and the parent in whose text its field stands."""
        app, _, name = column.model.rpartition(".")
        if model := self.find(name, app):
            yield model.label, column.field
            yield from ((m.label, column.field) for m in self.lineage(model) if column.field in m.fields)

    def _add_ways_back(self) -> None:
        for model in list(self.all()):
            for call, name in _relation_calls(model.node):
                there = self.find(model.relations[name], model.app) if name in model.relations else None
                if there is None or there is model:
                    continue
                related = [text for text, _ in constants(argument(call, "related_name"))]
                if related and related[0].endswith("+"):
                    continue
                ways = related or [model.name.lower(), f"{model.name.lower()}_set"]
                for way in ways:
                    there.relations.setdefault(way, model.label)
                    if last_name(call.func) != "OneToOneField":
                        there.many.add(way)


def _models(modules: Iterable[Module]) -> Iterator[Model]:
    classes = [(m, node) for m in modules for node in ast.walk(m.tree) if isinstance(node, ast.ClassDef)]
    known = {"Model", "AbstractUser", "AbstractBaseUser"}
    # a class is a model if one of its bases is; the bases may stand further down or in another file
    while True:
        fresh = {n.name for _, n in classes if n.name not in known and known & set(map(last_name, n.bases))}
        if not fresh:
            break
        known |= fresh
    for module, node in classes:
        if known & set(map(last_name, node.bases)):
            yield _model(module, node)


def _model(module: Module, node: ast.ClassDef) -> Model:
    model = Model(module.app, node.name, tuple(map(last_name, node.bases)), node, module)
    for statement in node.body:
        name, value = assigned(statement)
        if not name or not isinstance(value, ast.Call):
            continue
        kind = last_name(value.func)
        if kind.endswith(("Manager", "from_queryset")) or name == "objects":
            model.managers |= {last_name(part) for part in ast.walk(value)} - {""}
        model.fields.add(name)
        if kind in _RELATIONS and (there := _target(value, model)):
            model.relations[name] = there
            if kind not in _TO_ONE:
                model.many.add(name)
    return model


def _relation_calls(node: ast.ClassDef) -> Iterator[tuple[ast.Call, str]]:
    for statement in node.body:
        name, value = assigned(statement)
        if name and isinstance(value, ast.Call) and last_name(value.func) in _RELATIONS:
            yield value, name


def _target(call: ast.Call, model: Model) -> str:
    to = argument(call, "to", 0)
    text = to.value if isinstance(to, ast.Constant) and isinstance(to.value, str) else last_name(to)
    return model.name if text == "self" else text


def assigned(statement: ast.stmt) -> tuple[str, ast.expr | None]:
    """Name and value of a plain assignment; ("", None) of any other statement."""
    if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
        target = statement.targets[0]
        return (target.id, statement.value) if isinstance(target, ast.Name) else ("", None)
    if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
        return statement.target.id, statement.value
    return "", None

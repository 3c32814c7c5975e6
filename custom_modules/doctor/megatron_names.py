"""What names in the program's source stand for, of megatron-core's: as far as imports and annotations say it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import TypeAlias

PACKAGE = "megatron"
INSTANCE = "()"
"""Behind a class's name: an instance of it."""
ELEMENT = "[]"
"""Behind an instance's: several, in a list."""
RETURNED = "->"
"""Before any of these: a function of ours gives it."""
MADE_OTHERWISE = "*"
"""Behind a class's name: a subclass of ours, with arguments of its own."""
_LISTS = ("Sequence", "Iterable", "Iterator", "list")

Names: TypeAlias = Mapping[str, frozenset[str]]
"""A name in the source -> names of megatron-core, such as ``megatron.core.utils.divide``."""
NOTHING: frozenset[str] = frozenset()


class Scope:
    """What names stand for at a place of a module.

    Args:
        names: of what is around it.
        of_self: the attributes of ``self``, in a class.
        own: attributes that a class defines itself.
    """

    def __init__(self, names: Names, of_self: Names | None = None, own: frozenset[str] = frozenset()) -> None:
        self.names = names
        self.of_self = of_self or {}
        self.own = own

    def meaning(self, node: ast.expr) -> frozenset[str]:
        """What an expression stands for; several names where it is one of them, none if it is not megatron-core's."""
        match node:
            case ast.Name(id=name):
                return self.names.get(name, NOTHING)
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in self.of_self:
                return self.of_self[name]
            case ast.Attribute(value=ast.Name(id="self"), attr=name) if name in self.own:
                return NOTHING
            case ast.Attribute(value=value, attr=name):
                return frozenset(f"{owner}.{name}" for owner in self.meaning(value) if _goes_on(owner))
            case ast.Subscript(value=value):
                return frozenset(name[: -len(ELEMENT)] for name in self.meaning(value) if name.endswith(ELEMENT))
            case ast.IfExp(body=body, orelse=otherwise):
                return self.meaning(body) | self.meaning(otherwise)
            case ast.Call(func=ast.Name(id="super")):
                return self.names.get("super", NOTHING)
            case ast.Call(func=ast.Name(id="partial"), args=[function, *_]):
                return self.meaning(function)
            case ast.Call(func=function):
                return frozenset(_result(name) for name in self.meaning(function)) - {""}
        return NOTHING

    def defines(self, node: ast.ClassDef) -> frozenset[str]:
        """The members that a class defines itself."""
        targets = [part.target for part in node.body if isinstance(part, ast.AnnAssign)]
        annotated = {target.id for target in targets if isinstance(target, ast.Name)}
        of_self = {
            part.attr
            for part in ast.walk(node)
            if isinstance(part, ast.Attribute) and isinstance(part.ctx, ast.Store) and _is_name(part.value, "self")
        }
        return frozenset(annotated | of_self | {part.name for part in node.body if isinstance(part, ast.FunctionDef)})

    def called(self, node: ast.expr) -> frozenset[str]:
        """What a call with this function calls: ``super().__init__`` is the class."""
        return frozenset(name.removesuffix(f"{INSTANCE}.__init__") for name in self.meaning(node))

    def annotated(self, node: ast.expr | None) -> frozenset[str]:
        """What has this annotation."""
        match node:
            case ast.BinOp(left=left, right=right):
                return self.annotated(left) | self.annotated(right)
            case ast.Subscript(value=ast.Name(id=name), slice=element) if name in _LISTS:
                return frozenset(f"{instance}{ELEMENT}" for instance in self.annotated(element))
            case ast.Name() | ast.Attribute():
                return frozenset(f"{name}{INSTANCE}" for name in self.meaning(node) if INSTANCE not in name)
        return NOTHING

    def of_class(self, node: ast.ClassDef) -> Scope:
        """The inside of a class: ``self`` is an instance of its bases, too."""
        bases = frozenset(f"{name}{INSTANCE}" for name in self.bases(node))
        of_self: dict[str, frozenset[str]] = {}
        for function in (part for part in node.body if isinstance(part, ast.FunctionDef)):
            inside = self.of_function(function)
            for target, meant in inside.settings(function):
                if isinstance(target, ast.Attribute) and _is_name(target.value, "self") and meant:
                    of_self[target.attr] = meant
        names = {**self.names, "self": bases, "super": bases} if bases else self.names
        return Scope(names, of_self, self.defines(node))

    def of_function(self, node: ast.FunctionDef) -> Scope:
        """The inside of a function: arguments are what they are annotated as, and names what they are set to."""
        arguments = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        local = {argument.arg: self.annotated(argument.annotation) for argument in arguments if argument.arg != "self"}
        return Scope({**self.names, **local}, self.of_self, self.own).after(node)

    def after(self, node: ast.FunctionDef | ast.For) -> Scope:
        """What names stand for once they are set or narrowed."""
        scope = self
        for target, meant in self.settings(node):
            if isinstance(target, ast.Name) and meant:
                scope = Scope({**scope.names, target.id: meant}, self.of_self, self.own)
        return scope

    def settings(self, node: ast.FunctionDef | ast.For) -> Iterator[tuple[ast.expr, frozenset[str]]]:
        """Give what a function or loop sets or narrows, with what it is then."""
        for part in ast.walk(node):
            match part:
                case ast.AnnAssign(target=target, annotation=annotation, value=value):
                    yield target, self.annotated(annotation) or (self.meaning(value) if value else NOTHING)
                case ast.Assign(targets=[target, *_], value=value):
                    yield target, self.meaning(value)
                case ast.Assert(test=ast.Call(func=ast.Name(id="isinstance"), args=[target, kind])):
                    yield target, self.annotated(kind)

    def bases(self, node: ast.ClassDef) -> frozenset[str]:
        """What of megatron-core's a class is made of."""
        return frozenset(name for base in node.bases for name in self.meaning(base))

    def of_loop(self, target: ast.expr, iterated: ast.expr) -> Scope:
        """The inside of a loop over several."""
        names = dict(self.names)
        match target, iterated:
            case ast.Name(id=name), _:
                names[name] = self._element(iterated)
            case ast.Tuple(elts=[_, ast.Name(id=name)]), ast.Call(func=ast.Name(id="enumerate"), args=[several]):
                names[name] = self._element(several)
        return Scope(names, self.of_self, self.own)

    def _element(self, several: ast.expr) -> frozenset[str]:
        return frozenset(name[: -len(ELEMENT)] for name in self.meaning(several) if name.endswith(ELEMENT))


def exported(trees: Mapping[str, ast.Module]) -> dict[str, dict[str, frozenset[str]]]:
    """What the names of each module stand for: by its imports of megatron-core, or of ours that have them from it."""
    given: dict[str, dict[str, frozenset[str]]] = {module: {} for module in trees}
    before = -1
    while before != (before := sum(map(len, given.values()))):  # until imports of imports add nothing
        for module, tree in trees.items():
            _note_imports(tree, given, given[module])
            scope = Scope(given[module])
            for node in tree.body:
                match node:
                    case ast.ClassDef(name=name) if bases := scope.bases(node):
                        is_made_otherwise = "__init__" in scope.defines(node) or any(map(_is_made_otherwise, bases))
                        otherwise = MADE_OTHERWISE if is_made_otherwise else ""
                        given[module][name] = frozenset(
                            f"{base.removesuffix(MADE_OTHERWISE)}{otherwise}" for base in bases
                        )
                    case ast.FunctionDef(name=name, returns=returns) if meant := scope.annotated(returns):
                        given[module][name] = frozenset(f"{RETURNED}{each}" for each in meant)
                    case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                        if meant := frozenset(n.removesuffix(INSTANCE) for n in scope.annotated(value)):
                            given[module][name] = meant
    return given


def _note_imports(tree: ast.Module, given: Mapping[str, Names], names: dict[str, frozenset[str]]) -> None:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.partition(".")[0] == PACKAGE:
                    names[alias.asname or PACKAGE] = frozenset([alias.name if alias.asname else PACKAGE])
        elif isinstance(node, ast.ImportFrom):
            module = str(node.module)
            for alias in node.names:
                if module.partition(".")[0] == PACKAGE:
                    names[alias.asname or alias.name] = frozenset([f"{module}.{alias.name}"])
                elif alias.name in given.get(module, {}):
                    names[alias.asname or alias.name] = given[module][alias.name]


def _is_name(node: ast.expr, name: str) -> bool:
    return isinstance(node, ast.Name) and node.id == name


def _goes_on(name: str) -> bool:
    """Whether a chain does: a member of an instance is the end of one, and so is a text such as ``__version__``."""
    return not name.endswith((ELEMENT, "__")) and f"{INSTANCE}." not in name


def _result(name: str) -> str:
    """What a call gives: an instance of a class, or what a function of ours says; empty where that is not known."""
    if name.startswith(RETURNED):
        return name.removeprefix(RETURNED)
    return f"{name}{INSTANCE}" if name.rpartition(".")[2][:1].isupper() and INSTANCE not in name else ""


def _is_made_otherwise(name: str) -> bool:
    return name.endswith(MADE_OTHERWISE)

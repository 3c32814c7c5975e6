"""What of megatron-core the program's source asks for: names, arguments and members. Imports none of it."""

from __future__ import annotations

import ast
from dataclasses import dataclass, field
from pathlib import Path

from custom_modules.doctor.megatron_names import INSTANCE, MADE_OTHERWISE, RETURNED, Scope, exported

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("custom_modules", "data_prep")
BY_VERSION = "custom_modules.platform.megatron_versions"
"""The module that has calls for one version each."""


@dataclass(frozen=True, order=True)
class Call:
    """The arguments of a call."""

    positional: int
    keywords: tuple[str, ...]
    and_more: bool
    """Whether there are, or will be, others beside them."""

    def __str__(self) -> str:
        words = ["_"] * self.positional + [f"{name}=" for name in self.keywords] + ["..."] * self.and_more
        return f"({', '.join(words)})"


@dataclass
class Use:
    """How a name is used."""

    modules: set[str] = field(default_factory=set)
    """Ours that ask for it."""
    calls: set[Call] = field(default_factory=set)
    calls_by_version: set[Call] = field(default_factory=set)
    """One of them is for the version that is installed."""
    members: set[str] = field(default_factory=set)
    """What an instance is asked for; members that a subclass of ours defines only where it asks for the base's."""
    defined: set[str] = field(default_factory=set)
    """What subclasses of ours define."""
    of_super: set[str] = field(default_factory=set)
    """What they ask of their base."""


def uses() -> dict[str, Use]:
    """Read every module of the program; returns the use of each name, such as ``megatron.core.utils.divide``, by it."""
    trees = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): ast.parse(path.read_text())
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
    }
    found: dict[str, Use] = {}
    given = exported(trees)
    classes = {node.name: node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    for module, tree in trees.items():
        _Reader(module, Scope(given[module]), found, classes).visit(tree)
    for use in found.values():
        use.members = {member for member in use.members if member not in use.defined} | use.of_super
    return dict(sorted(found.items()))


class _Reader(ast.NodeVisitor):
    """Notes the uses of one module."""

    def __init__(self, module: str, scope: Scope, found: dict[str, Use], classes: dict[str, ast.ClassDef]) -> None:
        self.module = module
        self.scope = scope
        self.found = found
        self.classes = classes
        self.inherited: frozenset[str] = frozenset()
        """What the class that is read has from classes of ours."""

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        for name in self.scope.bases(node):
            self._use(name).defined |= self.scope.defines(node)
        before, self.inherited = self.inherited, self._inherited(node)
        self._within(node, self.scope.of_class(node))
        self.inherited = before

    def _inherited(self, node: ast.ClassDef) -> frozenset[str]:
        found: frozenset[str] = frozenset()
        for name in (base.id for base in node.bases if isinstance(base, ast.Name)):
            if base := self.classes.get(name):
                found |= self.scope.defines(base) | self._inherited(base)
        return found

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._within(node, self.scope.of_function(node))

    def visit_Attribute(self, node: ast.Attribute) -> None:
        """The longest chain is the name."""
        names = self.scope.meaning(node)
        for name in () if isinstance(node.ctx, ast.Store) else names:
            use = self._use(name)
            match node.value:
                case ast.Call(func=ast.Name(id="super")) if node.attr not in {"__init__", *self.inherited}:
                    use.of_super.add(node.attr)
        if not names:
            self.generic_visit(node)

    def visit_Name(self, node: ast.Name) -> None:
        for name in self.scope.meaning(node):
            if INSTANCE not in name:
                self._use(name)

    def visit_Call(self, node: ast.Call) -> None:
        function, arguments, is_whole = node.func, node.args, True
        if isinstance(function, ast.Name) and function.id == "partial" and arguments:
            function, arguments, is_whole = arguments[0], arguments[1:], False
        keywords = tuple(keyword.arg for keyword in node.keywords if keyword.arg is not None)
        plain = [argument for argument in arguments if not isinstance(argument, ast.Starred)]
        is_whole &= len(plain) == len(arguments) and len(keywords) == len(node.keywords)
        for name in self.scope.called(function):
            if name.endswith(MADE_OTHERWISE) or name.startswith(RETURNED):
                continue
            use = self._use(name)
            calls = use.calls_by_version if self.module == BY_VERSION else use.calls
            if INSTANCE not in name:
                calls.add(Call(len(plain), keywords, not is_whole))
        self.generic_visit(node)

    def visit_Tuple(self, node: ast.Tuple) -> None:
        """A thing and the name of its attribute, which is to be replaced."""
        match node.elts:
            case [owner, ast.Constant(value=str(attribute)), *_]:
                for name in self.scope.meaning(owner):
                    self._use(f"{name}.{attribute}")
        self.generic_visit(node)

    def _use(self, name: str) -> Use:
        """Note that a name is used, or a member where it is an instance's."""
        path, _, member = name.partition(INSTANCE)
        use = self.found.setdefault(path.removesuffix(MADE_OTHERWISE), Use())
        use.modules.add(self.module)
        if member.startswith("."):
            use.members.add(member[1:])
        return use

    def _within(self, node: ast.AST, scope: Scope) -> None:
        before, self.scope = self.scope, scope
        self.generic_visit(node)
        self.scope = before

    def visit_For(self, node: ast.For) -> None:
        self._within(node, self.scope.of_loop(node.target, node.iter).after(node))

    def _comprehension(self, node: ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp) -> None:
        scope = self.scope
        for loop in node.generators:
            scope = scope.of_loop(loop.target, loop.iter)
        self._within(node, scope)

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = _comprehension

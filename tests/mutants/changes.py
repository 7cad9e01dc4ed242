"""The changes of a module's functions, one expression at a time, each with the code that it gives. No file changes."""

import ast
from collections.abc import Iterable, Iterator
from copy import copy
from dataclasses import dataclass
from types import CodeType

SWAPS: list[tuple[type[ast.AST], type[ast.AST]]] = [
    *((ast.Eq, ast.NotEq), (ast.Is, ast.IsNot), (ast.In, ast.NotIn), (ast.Lt, ast.LtE), (ast.Gt, ast.GtE)),
    *((ast.Add, ast.Sub), (ast.Mult, ast.FloorDiv), (ast.Div, ast.Mod), (ast.BitOr, ast.BitAnd)),
    *((ast.LShift, ast.RShift), (ast.Pow, ast.BitXor)),
]
SWAPPED = dict(SWAPS) | {second: first for first, second in SWAPS}
ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
# Functions whose arguments are texts for people, which decide nothing.
TEXTS = {"Message", "alert", "clauses", "command", "mfa_kit", "note", "say", "suggest"}


@dataclass(frozen=True, slots=True)
class Mutant:
    """A function or constant in which one expression is another one.

    `name` is `Class.method` for a method. `lines` are those of the statement, or of its head; none for a constant.
    `code` is the new code of the function, or of the expression whose value the constant gets.
    """

    name: str
    line: int
    before: str
    after: str
    lines: range
    code: CodeType


@dataclass(frozen=True, slots=True)
class Place:
    """Where an expression is: in a field of its parent, or in a list that is this field."""

    parent: ast.AST
    field: str
    index: int | None
    lines: range

    def get(self) -> ast.AST:
        """Return the expression."""
        child = getattr(self.parent, self.field)
        return child if self.index is None else child[self.index]  # type: ignore[no-any-return]

    def put(self, node: ast.AST) -> None:
        """Put another expression in its place."""
        if self.index is None:
            setattr(self.parent, self.field, node)
        else:
            getattr(self.parent, self.field)[self.index] = node


def mutants_of(source: str, file: str, names: Iterable[str]) -> Iterator[Mutant]:
    """Yield the mutants of functions, of the methods of classes, and of constants, as `names` has them.

    Raise LookupError for an unknown name.
    """
    tree = ast.parse(source)
    known = dict(_definitions(tree.body))
    for wanted in names:
        chosen = {name: node for name, node in known.items() if f"{name}.".startswith(f"{wanted}.")}
        if not chosen:
            raise LookupError(f"{file} has no {wanted}")
        for name, node in chosen.items():
            for place, changed in _changes(node, range(0), boolean=False):
                original = place.get()
                place.put(ast.fix_missing_locations(ast.copy_location(changed, original)))
                if isinstance(node, ast.Expression):
                    code = compile(node, file, "eval")
                else:
                    code = _code_of(compile(tree, file, "exec"), name)
                place.put(original)
                line: int = original.lineno  # type: ignore[attr-defined]
                yield Mutant(name, line, ast.unparse(original), ast.unparse(changed), place.lines, code)


def _definitions(body: Iterable[ast.stmt], prefix: str = "") -> Iterator[tuple[str, ast.FunctionDef | ast.Expression]]:
    for node in body:
        match node:
            case ast.FunctionDef():
                yield f"{prefix}{node.name}", node
            case ast.ClassDef():
                yield from _definitions(node.body, f"{prefix}{node.name}.")
            case ast.Assign(targets=[target]) | ast.AnnAssign(target=target) if node.value and not prefix:
                yield from _constants(target, node.value)
            case _:
                pass


def _constants(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.Expression]]:
    """Yield the constants of an assignment, which may have two in one statement."""
    match target, value:
        case ast.Tuple(elts=targets), ast.Tuple(elts=values):
            for part, its_value in zip(targets, values, strict=True):
                yield from _constants(part, its_value)
        case ast.Name(id=name), _:
            yield name, ast.Expression(value)
        case _:
            pass


def _code_of(module: CodeType, name: str) -> CodeType:
    code = module
    for part in name.split("."):
        code = next(const for const in code.co_consts if isinstance(const, CodeType) and const.co_name == part)
    return code


def _changes(node: ast.AST, lines: range, *, boolean: bool) -> Iterator[tuple[Place, ast.AST]]:
    """Yield each change below a node. `boolean`: the function around it returns a bool."""
    if isinstance(node, ast.FunctionDef):
        boolean = node.returns is not None and ast.unparse(node.returns).startswith("bool")
    for field, index, child in _children(node):
        inside = _lines_of(child) or lines
        for changed in _variants(node, field, child, boolean=boolean):
            yield Place(node, field, index, inside), changed
        yield from _changes(child, inside, boolean=boolean)


def _children(node: ast.AST) -> Iterator[tuple[str, int | None, ast.AST]]:
    """Yield what is computed in a node, without decorators, defaults, annotations and texts for people."""
    inside = ("body",) if isinstance(node, ast.FunctionDef | ast.Lambda) else node._fields
    for field in inside:
        value = getattr(node, field)
        children = enumerate(value) if isinstance(value, list) else [(None, value)]
        for index, child in children:
            if field != "annotation" and isinstance(child, ast.AST) and not _decides_nothing(child):
                yield field, index, child


def _decides_nothing(node: ast.AST) -> bool:
    """Return whether a node is a text for people, or the `strict` of a zip whose parts are always of one length."""
    match node:
        case ast.Raise() | ast.JoinedStr() | ast.Expr(value=ast.Constant()) | ast.keyword(arg="strict"):
            return True
        case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
            return name in TEXTS
        case _:
            return False


def _lines_of(node: ast.AST) -> range | None:
    """Return the lines of a statement, or of its head if it has others inside. None for what is not a statement."""
    match node:
        case ast.match_case(pattern=head, body=[first, *_]):
            return range(head.lineno, max(head.lineno + 1, first.lineno))
        case ast.Match(cases=[first, *_]):
            return range(node.lineno, first.pattern.lineno)
        case ast.stmt(body=[first, *_]):  # type: ignore[misc]
            return range(node.lineno, max(node.lineno + 1, first.lineno))
        case ast.stmt():
            return range(node.lineno, (node.end_lineno or node.lineno) + 1)
        case _:
            return None


def _variants(parent: ast.AST, field: str, node: ast.AST, *, boolean: bool) -> Iterator[ast.AST]:
    """Yield what can stand in place of a node."""
    returned = isinstance(parent, ast.Return)
    condition = field in {"test", "guard", "ifs"} or (returned and boolean)
    if condition and not isinstance(node, ast.Constant):
        yield from _forced(parent, node)
    elif returned and not (isinstance(node, ast.Constant) and (boolean or node.value is None)):
        yield ast.Constant(None)
    yield from _other_values(node)
    yield from _other_operators(node, forced=condition)


def _other_values(node: ast.AST) -> Iterator[ast.AST]:
    """Yield other values of a constant, and what remains of `and` and `or` without one operand."""
    match node:
        case ast.BoolOp():
            for number in range(len(node.values)):
                rest = [*node.values[:number], *node.values[number + 1 :]]
                yield rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest)
        case ast.Constant(value=bool() as value):
            yield ast.Constant(not value)
        case ast.Constant(value=int() | float() as value):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str() as value) if " " not in value.strip():  # which is a text for people
            yield ast.Constant("" if value else "x")
        case ast.Constant(value=bytes() as value):
            yield ast.Constant(b"" if value else b"x")
        case _:
            pass


def _other_operators(node: ast.AST, *, forced: bool) -> Iterator[ast.AST]:
    """Yield an expression with another operator. Of a condition that was also forced, only the order is left."""
    match node:
        case ast.Compare():
            for number, operator in enumerate(node.ops):
                if isinstance(operator, ORDER) or not forced:
                    yield _with(node, ops=[*node.ops[:number], SWAPPED[type(operator)](), *node.ops[number + 1 :]])
        case ast.UnaryOp(op=ast.Not() | ast.USub()) if not forced:
            yield node.operand
        case ast.BinOp() | ast.AugAssign() if type(node.op) in SWAPPED:
            yield _with(node, op=SWAPPED[type(node.op)]())
        case _:
            pass


def _with(node: ast.AST, **fields: object) -> ast.AST:
    """Return a copy of a node with other values in some fields."""
    changed = copy(node)
    for field, value in fields.items():
        setattr(changed, field, value)
    return changed


def _forced(parent: ast.AST, node: ast.AST) -> Iterator[ast.AST]:
    """Yield the values that a condition can always have. Without an operand, `and` and `or` are tried too."""
    operator = node.op if isinstance(node, ast.BoolOp) else None
    if not isinstance(operator, ast.And) and not isinstance(parent, ast.While):  # which would never end
        yield ast.Constant(value=True)
    if not isinstance(operator, ast.Or):
        yield ast.Constant(value=False)

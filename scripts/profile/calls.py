"""How many times numpy is called in one training iteration, and for what.

    python scripts/profile/calls.py [overrides] [--by-name]

Counted is what the package's own code asks of numpy: its functions, ufuncs, methods of arrays and generators, and
operators between arrays; indexing, which makes views, by itself. For that the package's source is rewritten as it is
imported. What numpy does within a call is one call.
"""

from __future__ import annotations

import argparse
import ast
import builtins
import operator
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType
from typing import Any

import numpy as np

PACKAGE = "maml_exp"
FOUND: Counter[str] = Counter()
INDEXING = "indexing"
WARM_UP = 5  # iterations: buffers are made in the first, and the last of them is replayed (core/replay)
BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.MatMult: operator.matmul,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
UNARY = {ast.USub: operator.neg, ast.Invert: operator.invert}


def of_numpy(value: Any) -> bool:
    """Whether a value is numpy's: an array, one of its numbers, a generator."""
    return isinstance(value, (np.ndarray, np.generic, np.random.Generator))


def counted_call(function: Callable, *args: Any, **kwargs: Any) -> Any:
    """Call a function; count it if it is numpy's."""
    known = function.func if isinstance(function, partial) else function
    home = getattr(known, "__module__", None) or type(known).__module__
    owner = getattr(known, "__self__", None)
    if of_numpy(owner) or home.partition(".")[0] == "numpy" or type(known).__module__.partition(".")[0] == "numpy":
        FOUND[getattr(known, "__name__", type(known).__name__)] += 1
    return function(*args, **kwargs)


def counted_operator(name: str, *operands: Any) -> Any:
    """Apply an operator; count it where an operand is numpy's."""
    if any(map(of_numpy, operands)):
        FOUND[name] += 1
    return getattr(operator, name)(*operands)


def counted_operand(value: Any, target: Any) -> Any:
    """What stands right of +=, as it is; count the operator where either side is numpy's."""
    if of_numpy(value) or of_numpy(target):
        FOUND["in place"] += 1
    return value


def counted_index(value: Any) -> Any:
    """What is indexed, as it is; count it if it is an array."""
    if isinstance(value, np.ndarray):
        FOUND[INDEXING] += 1
    return value


HOOKS = (counted_call, counted_operator, counted_operand, counted_index)


class Rewriter(ast.NodeTransformer):
    """Puts the functions above around what code in functions does."""

    def __init__(self) -> None:
        self._depth = 0

    def _inside(self, node: Any) -> Any:
        """The body of a function; its annotations and defaults stay."""
        self._depth += 1
        body = node.body
        node.body = [self.visit(part) for part in body] if isinstance(body, list) else self.visit(body)
        self._depth -= 1
        return node

    visit_FunctionDef = visit_Lambda = _inside  # noqa: N815  ast's own names

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AnnAssign:
        """An annotation is no indexing."""
        if node.value is not None:
            node.value = self.visit(node.value)
        return node

    def _call(self, hook: Callable, *args: ast.expr, keywords: Sequence[ast.keyword] = ()) -> ast.Call:
        return ast.Call(ast.Name(hook.__name__, ast.Load()), list(args), list(keywords))

    def visit_Call(self, node: ast.Call) -> ast.Call:
        """A call."""
        self.generic_visit(node)
        if not self._depth or (isinstance(node.func, ast.Name) and node.func.id == "super"):  # it looks at its caller
            return node
        return self._call(counted_call, node.func, *node.args, keywords=node.keywords)

    def _operator(self, node: ast.expr, function: Callable | None, *operands: ast.expr) -> ast.expr:
        if not self._depth or function is None:
            return node
        return self._call(counted_operator, ast.Constant(function.__name__), *operands)

    def visit_BinOp(self, node: ast.BinOp) -> ast.expr:
        """An operator between two values."""
        self.generic_visit(node)
        return self._operator(node, BINARY.get(type(node.op)), node.left, node.right)

    def visit_Compare(self, node: ast.Compare) -> ast.expr:
        """A comparison; chains are none of arrays."""
        self.generic_visit(node)
        known = BINARY.get(type(node.ops[0])) if len(node.ops) == 1 else None
        return self._operator(node, known, node.left, node.comparators[0])

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.expr:
        """A sign."""
        self.generic_visit(node)
        return self._operator(node, UNARY.get(type(node.op)), node.operand)

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AugAssign:
        """An operator in place, whose target is looked at a second time."""
        seen = node.target.value if isinstance(node.target, ast.Subscript) else node.target
        again = ast.parse(ast.unparse(seen), mode="eval").body
        self.generic_visit(node)
        if self._depth:
            node.value = self._call(counted_operand, node.value, again)
        return node

    def visit_Subscript(self, node: ast.Subscript) -> ast.Subscript:
        """Indexing, to read or to write."""
        self.generic_visit(node)
        if self._depth:
            node.value = self._call(counted_index, node.value)
        return node


class Loader(SourceFileLoader):
    """Loads a module from its rewritten source, never from cached bytecode."""

    def get_code(self, fullname: str) -> CodeType:
        """The module's code."""
        path = self.get_filename(fullname)
        tree = Rewriter().visit(ast.parse(self.get_data(path)))
        return compile(ast.fix_missing_locations(tree), path, "exec", dont_inherit=True)


class Finder:
    """Finds the package's modules for `Loader`."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None, target: Any = None) -> ModuleSpec | None:
        """As Python does it, with another loader."""
        spec = PathFinder.find_spec(name, path) if name.partition(".")[0] == PACKAGE else None
        if spec is not None and spec.origin and spec.origin.endswith(".py"):
            spec.loader = Loader(name, spec.origin)
        return spec


def install() -> None:
    """Count in everything that is imported of the package from now on."""
    for hook in HOOKS:
        setattr(builtins, hook.__name__, hook)
    sys.meta_path.insert(0, Finder())  # type: ignore[arg-type]


def of_one_iteration(trainer: Any) -> Counter[str]:
    """The calls of one iteration of a trainer, once it is warm."""
    state = trainer.init(0)
    for _ in range(WARM_UP):
        state, _ = trainer.train_step(state)
    FOUND.clear()
    trainer.train_step(state)
    return Counter(FOUND)


def report(found: Counter[str], by_name: bool) -> None:
    """Print the sums, and if wanted what they are made of."""
    if by_name:
        for name, count in found.most_common():
            print(f"{count:>6}  {name}")
    calls = found.total() - found[INDEXING]
    print(f"{calls} calls of numpy an iteration, and {found[INDEXING]} times indexing")


def main(arguments: Sequence[str] | None = None) -> None:
    """Count for one problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="as for maml-exp")
    parser.add_argument("--by-name", action="store_true", help="also what is called how often")
    options = parser.parse_args(arguments)
    install()
    from maml_exp.config.composing import compose
    from maml_exp.core.training import Trainer

    report(of_one_iteration(Trainer(compose(options.overrides).reading().problem)), options.by_name)


if __name__ == "__main__":
    main()

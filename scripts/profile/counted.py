"""Arrays that tell of the matrix products they take part in: what flops, here and in tests, are counted by."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

Hook = Callable[[np.ndarray, np.ndarray, np.ndarray], None]  # of left, right and their product


def flops(left: np.ndarray, result: np.ndarray) -> int:
    """The floating-point operations of a product (..., n, m) whose left factor is (..., n, k)."""
    return 2 * int(np.size(result)) * left.shape[-1]


class Counted(np.ndarray):
    """An array that calls `hook` for every matrix product it takes part in, and hands it on to its results."""

    hook: Hook | None = None

    def __array_ufunc__(self, ufunc: Any, how: str, *inputs: Any, out: Any = None, **options: Any) -> Any:
        """Compute with plain arrays, and tell of it."""
        plain = [np.asarray(value) for value in inputs]
        if out is not None:
            options["out"] = tuple(np.asarray(array) for array in out)
        result = getattr(ufunc, how)(*plain, **options)
        if ufunc is np.matmul and Counted.hook:
            Counted.hook(*plain, np.asarray(result))
        return np.asarray(result).view(Counted) if out is None else out[0]

    def dot(self, other: Any, out: Any = None) -> Any:
        """Of two matrices it is np.matmul."""
        return np.matmul(self, other) if out is None else np.matmul(self, other, out=out)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        """Of two matrices np.dot is np.matmul, too."""
        if function is not np.dot:
            return super().__array_function__(function, types, args, kwargs)
        out = {name: (array,) for name, array in kwargs.items()}
        return self.__array_ufunc__(np.matmul, "__call__", *args, **out)


@contextmanager
def counting(hook: Hook) -> Iterator[None]:
    """Have every array that np.empty makes be `Counted`, as all of the core's buffers are.

    What is made meanwhile and calls np.ndarray's methods by that name (`arrays.product_for`) calls those of `Counted`.
    """
    empty, plain, before = np.empty, np.ndarray, Counted.hook
    np.empty = lambda *args, **options: empty(*args, **options).view(Counted)
    np.ndarray = Counted
    Counted.hook = staticmethod(hook)
    try:
        yield
    finally:
        np.empty, np.ndarray, Counted.hook = empty, plain, before

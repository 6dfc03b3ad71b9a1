"""The calls of a tape in a shape that numpy makes faster, with the same bits.

What a call costs beside its numbers depends on how it is made: twice as much where an operand is spread over an axis,
or lies in blocks, as a pass's rows of several runs do, or where the result goes to an operand's memory by another array
than the operand; and one product, or two or three, cost less by `dot` one by one than by `np.matmul` for all. Code that
is read does not write any of that down.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

Array = np.ndarray
Call = tuple[Callable, Sequence[Any]]
FEW_MATRICES = 3  # up to which a product each is faster
FEW_NUMBERS = 2**13  # of a result up to which it is faster to spread an operand first
FEW_IN_A_BLOCK = 2**11  # of a result up to which it is faster to make all blocks in one piece, and copy that
BY_NAME = (np.maximum, np.minimum)  # ufuncs that are told by name where their result goes
RESULT = 2  # its place behind two operands


def shortened(calls: Sequence[Call]) -> list[Call]:
    """Calls that write the same bits to the same memory."""
    made: list[Call] = []
    arrays = _Arrays()
    for function, values in calls:
        values = arrays.one_of(values)
        ufunc, *parts = _told_by_place(function, values)
        if _is_elementwise(ufunc) and _are_plain(*parts):
            _make_elementwise(made, arrays, ufunc, *parts)
        else:
            made += _cheaper(function, values)
    return made


class _Arrays:
    """Knows which arrays are the same memory, and has memory for operands that are spread."""

    def __init__(self) -> None:
        self._known: dict[Any, Array] = {}
        self._spread: dict[Any, Array] = {}

    def one_of(self, value: Any) -> Any:
        """The same values, each array the first one that was seen of its memory and layout."""
        if isinstance(value, (tuple, list)):
            return type(value)(map(self.one_of, value))
        if type(value) is not np.ndarray:
            return value
        place = value.__array_interface__["data"]  # where it is, and whether it can be written to
        return self._known.setdefault((place, value.shape, value.strides, value.dtype), value)

    def spread(self, place: int, like: Array) -> Array:
        """Memory for a first or second operand, or the result; the next one of its place and shape has the same."""
        key = (place, like.shape, like.dtype)
        if key not in self._spread:
            self._spread[key] = np.empty(like.shape, like.dtype)
        return self._spread[key]


def _make_elementwise(made: list[Call], arrays: _Arrays, function: Any, *operands_and_out: Array) -> None:
    """Add to the calls made so far those in place of one with two operands."""
    *operands, out = operands_and_out
    plain = out if out.flags.c_contiguous else arrays.spread(RESULT, out)
    if plain is not out and made and _is_product_to_change(made[-1], operands, out):
        *factors, product = made.pop()[1]
        made.append((np.matmul, (*factors, plain.reshape(product.shape))))
        operands = [plain if operand is out else operand for operand in operands]
    for place, operand in enumerate(operands):
        if operand.size == 1:
            operands[place] = operand.reshape(())
        elif operand.shape != out.shape or not operand.flags.c_contiguous:
            operands[place] = arrays.spread(place, out)
            made.append((operands[place].__setitem__, (..., operand)))
    made.append((partial(function, out=plain), operands) if function in BY_NAME else (function, (*operands, plain)))
    if plain is not out:
        made.append((out.__setitem__, (..., plain)))


def _cheaper(function: Callable, values: Any) -> Iterator[Call]:
    """The calls in place of one."""
    if function is np.matmul and _are_few_products(*values):
        for left, right, out in _one_by_one(*values):
            yield left.dot, (right, out)
    elif _is_concatenation(function, values):
        yield from _parts_of(*values, **function.keywords)  # type: ignore[attr-defined]
    else:
        yield function, values


def _are_few_products(left: Any, right: Any, out: Any) -> bool:
    """Whether these are up to three products, each of which `dot` can write, and with the bits of `np.matmul`."""
    return (
        type(left) is type(right) is np.ndarray
        and max(left.ndim, right.ndim) <= max(2, out.ndim) <= 3
        and min(left.size, right.size, out.size) > 0
        and math.prod(out.shape[:-2]) <= FEW_MATRICES
        and left.dtype == right.dtype == out.dtype
        and _first(out).flags.c_contiguous
        and all(_first(array).flags.forc for array in (left, right))  # others `dot` copies, and rounds in another way
        and not any(np.may_share_memory(array, out) for array in (left, right))
    )


def _first(array: Array) -> Array:
    """The first of some matrices, which are all laid out alike."""
    return array[(0,) * (array.ndim - 2)]


def _one_by_one(left: Array, right: Array, out: Array) -> Iterator[tuple[Array, Array, Array]]:
    """The products of matrices (T, K, n) and (T, n, m), of either of which all may share one, or just a product."""
    if out.ndim < 3:
        yield left, right, out
    else:
        matrices = [np.broadcast_to(array, (len(out), *array.shape[-2:])) for array in (left, right)]
        yield from zip(*matrices, out, strict=True)


def _is_product_to_change(last: Call, operands: Sequence[Array], out: Array) -> bool:
    """Whether the last call makes products that nobody sees before these operands have made `out` in their place."""
    function, values = last
    if function is not np.matmul or any(np.may_share_memory(one, out) for one in operands if one is not out):
        return False
    product = values[-1]
    places = [some.__array_interface__["data"] for some in (product, out)]
    kinds = [(some.dtype, some.size, some.shape[:1], some.strides[:1]) for some in (product, out)]
    return places[0] == places[1] and kinds[0] == kinds[1] and product[0].flags.c_contiguous


def _is_small(out: Array) -> bool:
    if out.flags.c_contiguous:
        return out.size <= FEW_NUMBERS
    return out.ndim > 2 and out[0].size <= FEW_IN_A_BLOCK and out[0].flags.c_contiguous


def _told_by_place(function: Any, values: Any) -> tuple[Any, ...]:
    """A function and its values, among which is where the result goes, however that was told."""
    if isinstance(function, partial) and function.func in BY_NAME and list(function.keywords) == ["out"]:
        return function.func, *values, function.keywords["out"]
    return function, *values


def _is_elementwise(function: Any) -> bool:
    return isinstance(function, np.ufunc) and function.signature is None and (function.nin, function.nout) == (2, 1)


def _are_plain(left: Any, right: Any, out: Any) -> bool:
    """Whether two operands and a result are arrays of one dtype and few numbers, and the result in plain memory."""
    arrays = (left, right, out)
    return all(type(array) is np.ndarray and array.dtype == out.dtype for array in arrays) and _is_small(out)


def _is_concatenation(function: Any, values: Any) -> bool:
    """Whether this puts arrays together in memory that is none of theirs."""
    if not isinstance(function, partial) or function.func is not np.concatenate:
        return False
    out = function.keywords.get("out")
    return out is not None and not any(np.may_share_memory(part, out) for part in values[0])


def _parts_of(parts: Sequence[Any], axis: int = 0, *, out: Array) -> Iterator[Call]:
    """A concatenation as an assignment of each part."""
    end = 0
    for part in parts:
        start, end = end, end + part.shape[axis]
        place = np.moveaxis(np.moveaxis(out, axis, 0)[start:end], 0, axis)
        yield place.__setitem__, (..., part)

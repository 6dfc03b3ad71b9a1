"""What numpy is asked for in a computation, written down as it is made, to be asked for again."""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any
from weakref import proxy, ref

import numpy as np

from maml_exp.core.replay.shorter import BY_NAME, Call, shortened

Array = np.ndarray
TAKE_OUT = (np.concatenate, np.einsum)  # functions that may be told where their result goes
OF_SHAPES = (np.shape, np.ndim, np.size, np.may_share_memory, np.result_type)  # whose results are the same every time
DOT = np.ndarray.dot  # as a class's method it does not ask what its arrays are


class UntraceableError(Exception):
    """A computation depends on more than the memory of arrays."""


class Tape:
    """Calls of numpy, and the memory that they read and write.

    Args:
        inputs: arrays like those that are computed from.
    """

    def __init__(self, inputs: Sequence[Array]):
        self.result: Any = None
        self._inputs = [np.array(array) for array in inputs]
        self._calls: list[Call] = []
        # of results, by layout: memory that is used again once nobody in the computation has it any more, as the
        # system would give it: what stays in the cache is as little as without a tape
        self._memory: dict[Any, list[tuple[ref[Owner], Array]]] = {}

    def end(self, result: Any) -> None:
        """Have all calls written down, of which this is the result."""
        self.result, self._calls = result, shortened(self._calls)

    def play(self, inputs: Sequence[Array]) -> Any:
        """Make all calls for other inputs."""
        for memory, array in zip(self._inputs, inputs, strict=True):
            memory[...] = array
        for function, values in self._calls:
            function(*values)
        return self.result

    @property
    def traced_inputs(self) -> list[Traced]:
        """The inputs, to be computed from."""
        return [self.traced(array) for array in self._inputs]

    def write(self, function: Callable, *values: Any, **options: Any) -> None:
        """Have a call made again."""
        self._calls.append((partial(function, **options) if options else function, values))

    def traced(self, array: Array, owner: Owner | None = None) -> Traced:
        """A view of an array that writes down here."""
        view = array.view(Traced)
        view.tape, view.owner = proxy(self), owner or Owner()
        return view

    def home(self, found: Array | np.generic) -> Traced:
        """Memory for a result that is laid out as this one, with its values."""
        array = np.asarray(found)
        known = self._memory.setdefault((array.shape, array.strides, array.dtype), [])
        for place, (owner, memory) in enumerate(known):
            if owner() is None:
                memory[...] = array
                view = self.traced(memory)
                known[place] = (ref(view.owner), memory)
                return view
        view = self.traced(array)
        known.append((ref(view.owner), array))
        return view

    def view_of(self, value: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
        """The same, on the same memory, with every array in it `Traced`: what is ours is copied, all else kept."""
        if id(value) in seen:
            return seen[id(value)][1]

        def made(view: Any) -> Any:
            seen[id(value)] = (value, view)  # the value too: its id is nobody else's while it lives
            return view

        if type(value) is np.ndarray:
            return made(self.traced(value))
        if value is DOT:
            return _traced_dot
        if type(value) is list:
            view = made([])
            view.extend(self.view_of(part, seen) for part in value)
            return view
        if type(value) is dict:
            view = made({})
            view.update((key, self.view_of(part, seen)) for key, part in value.items())
            return view
        if isinstance(value, tuple):
            return made(tuple_like(value, [self.view_of(part, seen) for part in value]))
        if isinstance(value, types.MethodType):
            return made(types.MethodType(value.__func__, self.view_of(value.__self__, seen)))
        if is_ours(value) and hasattr(value, "__dict__"):
            view = made(copy(value))
            vars(view).update((name, self.view_of(part, seen)) for name, part in vars(value).items())
            return view
        return value


def is_ours(value: Any) -> bool:
    """Whether an object is of a class of ours, which hold buffers, and look at numbers by numpy alone."""
    return type(value).__module__.startswith("maml_exp.core.")


class Owner:
    """Lives as long as any `Traced` array of the same memory."""


class Traced(np.ndarray):
    """An array that writes down what numpy does with it; its views do, too."""

    tape: Tape
    owner: Owner

    def __array_finalize__(self, parent: Any) -> None:
        """A view of a traced array is one; of another it is made one by `Tape.traced`."""
        if isinstance(parent, Traced):
            self.tape, self.owner = parent.tape, parent.owner

    def __array_ufunc__(self, ufunc: Any, how: str, *inputs: Any, out: Any = None, **options: Any) -> Any:  # type: ignore[override]
        """A ufunc, or one of its methods."""
        tape = _tape_of((*inputs, out))
        function, values = getattr(ufunc, how), untraced(inputs)
        if how == "at":
            function(*values, **options)
            return tape.write(function, *values, **options)
        if out is None:
            view = tape.home(function(*values, **options))
        else:
            (view,) = out
            function(*values, out=untraced(out), **options)
        if view.dtype.kind == "f":  # to convert a number takes longer than to compute with it
            values = [np.asarray(value, view.dtype) if type(value) in (int, float) else value for value in values]
        function = ufunc if how == "__call__" else function
        if function is ufunc and ufunc not in BY_NAME:  # by name takes longer
            tape.write(ufunc, *values, untraced(view), **options)
        else:
            tape.write(function, *values, out=untraced(view), **options)
        return view

    def __array_function__(self, function: Any, kinds: Any, given: Any, options: Any) -> Any:
        """Another function of numpy's."""
        values, plain = untraced(given), untraced(options)
        found = function(*values, **plain)
        tape = _tape_of((given, list(options.values())))
        if found is None or plain.get("out") is not None:
            tape.write(function, *values, **plain)
            return options.get("out")
        if function in OF_SHAPES:
            return found
        if isinstance(found, (tuple, list)):
            return [_view_of(part, given) for part in found]
        if not isinstance(found, (np.ndarray, np.generic)):
            raise UntraceableError(f"{found!r} is no array")
        if any(np.may_share_memory(found, value) for value in given if isinstance(value, Traced)):
            return _view_of(found, given)
        view = tape.home(found)
        if function in TAKE_OUT:
            tape.write(function, *values, **plain, out=untraced(view))
        elif function is np.zeros_like:
            tape.write(untraced(view).fill, 0)
        elif function is not np.empty_like:
            tape.write(_again, untraced(view), partial(function, **plain), values)
        return view

    def _made(self, function: Callable, *values: Any) -> Traced:
        """What a method of the plain array finds: a view, or a result of its own."""
        found, own = np.asarray(function(*values)), untraced(self)
        if np.may_share_memory(found, own):
            return self.tape.traced(found, self.owner)
        view = self.tape.home(found)
        self.tape.write(_again, untraced(view), function, values)
        return view

    def __getitem__(self, key: Any) -> Any:
        """A part; an entry is an array of no axes."""
        return self._made(untraced(self).__getitem__, untraced(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write to a part, which is looked up once where it is a view."""
        own, value = untraced(self), untraced(value)
        own[key] = value
        part = own[untraced(key)]
        is_view = isinstance(part, np.ndarray) and np.may_share_memory(part, own)
        self.tape.write(*(part.__setitem__, ...) if is_view else (own.__setitem__, untraced(key)), value)

    def copy(self, *order: Any) -> Any:
        """As of any array."""
        return self._copied(untraced(self).copy(*order))

    def astype(self, *dtype: Any, copy: bool = True) -> Any:  # type: ignore[override]
        """As of any array."""
        own = untraced(self)
        found = own.astype(*dtype, copy=copy)
        return self if found is own else self._copied(found)

    def _copied(self, found: Array) -> Traced:
        """Memory of its own for the same numbers, laid out as `found`, and perhaps of its dtype."""
        view = self.tape.home(found)
        self.tape.write(untraced(view).__setitem__, ..., untraced(self))
        return view

    def reshape(self, *shape: Any) -> Any:  # type: ignore[override]
        """As of any array: a view where that is possible."""
        return self._made(untraced(self).reshape, *shape)

    def dot(self, other: Any, out: Any = None) -> Any:
        """As of any array."""
        own, values = untraced(self), (untraced(other),)
        view = self.tape.home(own.dot(*values)) if out is None else out
        plain = untraced(view)
        own.dot(*values, plain)
        self.tape.write(own.dot, *values, plain)
        return view

    def _is_no_number(self, *_: Any) -> Any:
        raise UntraceableError("what is computed next depends on a number, or on a method that is not written down")

    __bool__ = __float__ = __int__ = __index__ = __complex__ = tolist = item = _is_no_number
    nonzero = argmax = argmin = argsort = searchsorted = ravel = flatten = take = repeat = _is_no_number  # type: ignore


def _traced_dot(left: Any, right: Any, out: Any = None) -> Any:
    """The product of matrices of which one is traced."""
    if isinstance(left, Traced):
        return left.dot(right, out)
    return _tape_of((right, out)).traced(left).dot(right, out)


def _tape_of(values: Any) -> Tape:
    """Where the first traced array among these writes."""
    for value in values:
        if isinstance(value, Traced):
            return value.tape
        if isinstance(value, (tuple, list)) and (tape := _tape_of(value)) is not None:
            return tape
    return None  # type: ignore[return-value]


def _view_of(found: Any, given: Any) -> Traced:
    """What a function found, as part of a traced array that it was given."""
    for value in given:
        if isinstance(value, Traced) and isinstance(found, np.ndarray) and np.may_share_memory(found, value):
            return value.tape.traced(found, value.owner)
    raise UntraceableError(f"{found!r} is no view of an array")


def _again(memory: Array, function: Callable, values: Sequence[Any]) -> None:
    """Write a function's result to memory."""
    memory[...] = function(*values)


def untraced(value: Any) -> Any:
    """Arrays, and structures of them, without what writes down."""
    if isinstance(value, Traced):
        return value.view(np.ndarray)
    if type(value) in (tuple, list):
        return type(value)(map(untraced, value))
    if type(value) is dict:
        return {key: untraced(part) for key, part in value.items()}
    return value


def tuple_like(value: Any, parts: list[Any]) -> Any:
    """A tuple, named or not, or a list of parts in place of those of `value`."""
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)

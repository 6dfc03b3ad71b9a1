"""Computations that are written down once and made again without the Python around them.

With few tasks most of an iteration is Python's: which layer, which view of which buffer. That is the same every time.
So a computation that is asked for again and again, of arrays of the same shapes, is watched: `Traced` arrays write down
every call of numpy that they take part in, and with which memory. From then on those calls are made one by one.

They are the same calls on the same memory, so they give the same bits. That is checked once before it is relied on, on
other inputs and on inputs that are spoilt: whatever a `Traced` array does not see, as a number that is taken out of it,
stays as it was, which shows there. A computation that fails the check, or cannot be written down, is made as ever.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from copy import copy
from functools import partial
from typing import Any
from weakref import proxy, ref

import numpy as np

Array = np.ndarray
WARM_UP = 2  # calls that are made as ever: what is asked for once or twice is not worth it
TAKE_OUT = (np.concatenate, np.einsum)  # functions that may be told where their result goes
OF_SHAPES = (np.shape, np.ndim, np.size, np.may_share_memory, np.result_type)  # whose results are the same every time
DOT = np.ndarray.dot  # as a class's method it does not ask what its arrays are


class UntraceableError(Exception):
    """A computation depends on more than the memory of arrays."""


class Replayed:
    """`function(state, *inputs)`, made without Python's part once it has been asked for a few times.

    Args:
        function: its result is arrays, or tuples, lists and None of them, and depends on its inputs alone. It is in
            memory that the next call uses again.
        state: an object with arrays that the function uses as buffers.
        watched: False: always made as ever.
    """

    def __init__(self, function: Callable[..., Any], state: Any, watched: bool = True):
        self._function, self._state = function, state
        self._calls, self._is_trusted = 0 if watched else WARM_UP + 2, False
        self._tape: Tape | None = None

    def __call__(self, *inputs: Array) -> Any:
        """The function's result for these inputs, arrays of the shapes and dtypes that all calls have."""
        if self._is_trusted:
            assert self._tape is not None  # or there was nothing to trust
            return self._tape.play(inputs)
        self._calls += 1
        if self._calls == WARM_UP + 1:
            self._tape = _written_down(self._function, self._state, inputs)
        if self._tape is None or self._calls <= WARM_UP + 1:
            return self._function(self._state, *inputs)
        self._is_trusted = all(self._agrees(self._tape, some) for some in (inputs, *_spoilt(inputs)))
        self._tape = self._tape if self._is_trusted else None
        return self._function(self._state, *inputs)

    def _agrees(self, tape: Tape, inputs: Sequence[Array]) -> bool:
        """Whether a tape finds what the function finds, to the bit; of NaN, only where it is."""
        found = _each(_known_bits, self._function(self._state, *inputs))
        try:
            return _same_bits(found, _each(_known_bits, tape.play(inputs)))
        except Exception:  # it was not written down as it can be made again
            return False

    @property
    def is_trusted(self) -> bool:
        """Whether it is made without Python's part."""
        return self._is_trusted


def _written_down(function: Callable[..., Any], state: Any, inputs: Sequence[Array]) -> Tape | None:
    """The calls of one computation; None where it cannot be written down, whatever the reason."""
    tape = Tape(inputs)
    try:
        tape.result = _each(_plain, function(tape.view_of(state, {}), *tape.traced_inputs))
    except Exception:  # then it is made as ever, and an error that is the function's own shows there
        return None
    return tape


class Tape:
    """Calls of numpy, and the memory that they read and write.

    Args:
        inputs: arrays like those that are computed from.
    """

    def __init__(self, inputs: Sequence[Array]):
        self.result: Any = None
        self._inputs = [np.array(array) for array in inputs]
        self._calls: list[tuple[Callable, Sequence[Any]]] = []
        # of results, by layout: memory that is used again once nobody in the computation has it any more, as the
        # system would give it: what stays in the cache is as little as without a tape
        self._memory: dict[Any, list[tuple[ref[Owner], Array]]] = {}

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
            return made(_tuple_like(value, [self.view_of(part, seen) for part in value]))
        if isinstance(value, types.MethodType):
            return made(types.MethodType(value.__func__, self.view_of(value.__self__, seen)))
        if type(value).__module__.startswith(__package__) and hasattr(value, "__dict__"):
            view = made(copy(value))
            vars(view).update((name, self.view_of(part, seen)) for name, part in vars(value).items())
            return view
        return value


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
        function, values = getattr(ufunc, how), _plain(inputs)
        if how == "at":
            function(*values, **options)
            return tape.write(function, *values, **options)
        if out is None:
            view = tape.home(function(*values, **options))
        else:
            (view,) = out
            function(*values, out=_plain(out), **options)
        if view.dtype.kind == "f":  # to convert a number takes longer than to compute with it
            values = [np.asarray(value, view.dtype) if type(value) in (int, float) else value for value in values]
        if how == "__call__" and ufunc not in (np.maximum, np.minimum):  # those want theirs by name, which takes longer
            tape.write(ufunc, *values, _plain(view), **options)
        else:
            tape.write(function, *values, out=_plain(view), **options)
        return view

    def __array_function__(self, function: Any, kinds: Any, given: Any, options: Any) -> Any:
        """Another function of numpy's."""
        values, plain = _plain(given), _plain(options)
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
            tape.write(function, *values, **plain, out=_plain(view))
        elif function is np.zeros_like:
            tape.write(_plain(view).fill, 0)
        elif function is not np.empty_like:
            tape.write(_again, _plain(view), partial(function, **plain), values)
        return view

    def _made(self, function: Callable, *values: Any) -> Traced:
        """What a method of the plain array finds: a view, or a result of its own."""
        found, own = np.asarray(function(*values)), _plain(self)
        if np.may_share_memory(found, own):
            return self.tape.traced(found, self.owner)
        view = self.tape.home(found)
        self.tape.write(_again, _plain(view), function, values)
        return view

    def __getitem__(self, key: Any) -> Any:
        """A part; an entry is an array of no axes."""
        return self._made(_plain(self).__getitem__, _plain(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        """Write to a part, which is looked up once where it is a view."""
        own, value = _plain(self), _plain(value)
        own[key] = value
        part = own[_plain(key)]
        is_view = isinstance(part, np.ndarray) and np.may_share_memory(part, own)
        self.tape.write(*(part.__setitem__, ...) if is_view else (own.__setitem__, _plain(key)), value)

    def copy(self, *order: Any) -> Any:
        """As of any array."""
        own = _plain(self)
        view = self.tape.home(own.copy(*order))
        self.tape.write(_plain(view).__setitem__, ..., own)
        return view

    def astype(self, *dtype: Any, copy: bool = True) -> Any:  # type: ignore[override]
        """As of any array."""
        return self._made(partial(_plain(self).astype, copy=copy), *dtype)

    def reshape(self, *shape: Any) -> Any:  # type: ignore[override]
        """As of any array: a view where that is possible."""
        return self._made(_plain(self).reshape, *shape)

    def dot(self, other: Any, out: Any = None) -> Any:
        """As of any array."""
        own, values = _plain(self), (_plain(other),)
        view = self.tape.home(own.dot(*values)) if out is None else out
        plain = _plain(view)
        if plain.ndim == 0:  # which has no place for it
            self.tape.write(_again, plain, own.dot, values)
        else:
            self.tape.write(own.dot, *values, own.dot(*values, plain))
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


def _each(function: Callable[[Array], Array], value: Any) -> Any:
    """The same structure of arrays with a function's results in their place."""
    if isinstance(value, (np.ndarray, np.generic)):
        return function(np.asarray(value))
    if isinstance(value, (tuple, list)):
        return _tuple_like(value, [_each(function, part) for part in value])
    if value is None:
        return None
    raise UntraceableError(f"{value!r} is no array")


def _tuple_like(value: Any, parts: list[Any]) -> Any:
    return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)


def _plain(value: Any) -> Any:
    """Arrays, and structures of them, without what writes down."""
    if isinstance(value, Traced):
        return value.view(np.ndarray)
    if type(value) in (tuple, list):
        return type(value)(map(_plain, value))
    if type(value) is dict:
        return {key: _plain(part) for key, part in value.items()}
    return value


def _known_bits(array: Array) -> Array:
    """A copy, in which all NaN are the same."""
    return np.where(np.isnan(array), np.nan, array)


def _spoilt(inputs: Sequence[Array]) -> list[list[Array]]:
    """The inputs, in turn each of them NaN: what depends on it unseen is NaN of the function and not of the tape."""
    floats = [place for place, array in enumerate(inputs) if array.dtype.kind in "fc" and array.size]
    return [[np.full_like(a, np.nan) if i == place else a for i, a in enumerate(inputs)] for place in floats]


def _same_bits(found: Any, other: Any) -> bool:
    """Whether two structures of arrays have the same bits."""
    if isinstance(found, np.ndarray):
        return found.tobytes() == other.tobytes()
    return found is None or all(map(_same_bits, found, other))

"""Computations that are written down once and made again without the Python around them.

With few tasks most of an iteration is Python's: which layer, which view of which buffer. That is the same every time.
So a computation that is asked for again and again, of arrays of the same shapes, is watched: `Traced` arrays write down
every call of numpy that they take part in, and with which memory. From then on those calls are made one by one.

They are the same calls on the same memory, or shorter ones of the same bits (shorter.py). That is checked once before
it is relied on, on other inputs and on inputs that are spoilt: whatever a `Traced` array does not see, as a number
that is taken out of it, stays as it was, which shows there. A computation that fails the check, or cannot be written
down, is made as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from maml_exp.core.replay.tape import Tape, UntraceableError, tuple_like, untraced

Array = np.ndarray
WARM_UP = 2  # calls that are made as ever: what is asked for once or twice is not worth it


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
        tape.end(_each(untraced, function(tape.view_of(state, {}), *tape.traced_inputs)))
    except Exception:  # then it is made as ever, and an error that is the function's own shows there
        return None
    return tape


def _each(function: Callable[[Array], Array], value: Any) -> Any:
    """The same structure of arrays with a function's results in their place."""
    if isinstance(value, (np.ndarray, np.generic)):
        return function(np.asarray(value))
    if isinstance(value, (tuple, list)):
        return tuple_like(value, [_each(function, part) for part in value])
    if value is None:
        return None
    raise UntraceableError(f"{value!r} is no array")


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

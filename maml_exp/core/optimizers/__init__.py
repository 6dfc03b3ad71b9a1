"""Optimizers of the outer loop, a file each: `Settings`, `init`, `update`.

`init(theta)` gives an optimizer's state; `update(gradient, state, theta, settings)` gives the new (theta, state).
Nothing is changed in place: a state that was handed out stays what it was.
"""

from maml_exp.core.registry import Registry

OPTIMIZERS = Registry(__name__, key="optimizer.name", parts=("Settings", "init", "update"))

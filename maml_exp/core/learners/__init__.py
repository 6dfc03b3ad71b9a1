"""Ways to learn from a support set, a file each: `Settings` and `Learner`."""

from maml_exp.core.registry import Registry

LEARNERS = Registry(__name__, key="algorithm.learner", parts=("Settings", "Learner"))

"""What needs no meta-learning, a file each: `Baseline`, fitted to the training tasks, judged as every learner is."""

from maml_exp.core.registry import Registry

BASELINES = Registry(__name__, key="evaluation.baselines", parts=("Baseline",))

"""What `maml-exp --help` prints; the options of each group are read from conf/."""

from __future__ import annotations

from maml_exp.sweep.hydra_run import conf_dir

GROUPS = {
    "model": "the network: hidden layers, activation, initialisation",
    "algorithm": "how the meta-gradient is computed",
    "inner": "inner loop: learning rate and number of gradient steps",
    "task": "the family of tasks: shots, ranges",
    "optimizer": "the outer loop's optimizer",
    "training": "iterations, meta-batch, how often to log, evaluate, save",
    "evaluation": "fixed tasks, shots and steps the result is judged on",
    "experiment": "whole experiments, added with a plus: +experiment=smoke",
}
TEXT = """maml-exp: Model-Agnostic Meta-Learning in raw numpy, one command a run

  maml-exp [key=value ...]              train, evaluate and plot one run in runs/
  maml-exp -m key=a,b [key=c,d ...]     a sweep: one run for every combination
  maml-exp resume RUN [--jobs 2]        go on with an interrupted run or sweep, to the same bits
  maml-exp rerun RUN [key=value ...]    run a saved configuration again, in a new folder, and compare
  maml-exp diff RUN_A RUN_B             configuration, environment and results in which two runs differ
  maml-exp compare PATH...              tables and figures of many runs beside each other
  maml-exp gradcheck [key=value ...]    prove the hand-derived gradients, a line a check
  maml-exp plot RUN [--format pdf]      draw a run's figures again

Groups; choose an option with group=option, as in model=one_hidden:
{groups}

Single settings, as in inner.lr=0.02 inner.steps=5 task.shots=5 model.hidden=[64,64] seed=3:
{settings}

  maml-exp --cfg job [key=value ...]    print the configuration that these settings make, and run nothing
  maml-exp --hydra-help                 what else Hydra's command line can do
"""


def help_text() -> str:
    """The help, with the groups and settings there are today."""
    from textwrap import fill

    from maml_exp.config.schema import setting_names

    groups = []
    for group, meaning in GROUPS.items():
        options = ", ".join(sorted(path.stem for path in (conf_dir() / group).glob("*.yaml")))
        groups.append(f"  {group:<11} {meaning}\n  {'':<11}   {options}")
    settings = fill(" ".join(setting_names()), 100, initial_indent="  ", subsequent_indent="  ")
    return TEXT.format(groups="\n".join(groups), settings=settings).rstrip()

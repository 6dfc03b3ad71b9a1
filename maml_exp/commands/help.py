"""What `maml-exp --help` prints; the options of each group are read from conf/."""

from __future__ import annotations

from textwrap import fill

from maml_exp.commands import VERBS
from maml_exp.config.usual import GROUPS, options, usual_settings

TEXT = """maml-exp: Model-Agnostic Meta-Learning in raw numpy, one command a run

  maml-exp [key=value ...]              train, evaluate and plot one run in runs/
  maml-exp -m key=a,b [key=c,d ...]     a sweep: one run for every combination
{verbs}

Groups; choose an option with group=option, as in model=one_hidden:
{groups}

Single settings, as in inner.lr=0.02 inner.steps=5 task.shots=5 model.hidden=[64,64] seed=3:
{settings}

  maml-exp --cfg job [key=value ...]    print the configuration that these settings make, and run nothing
  maml-exp --hydra-help                 what else Hydra's command line can do
"""


def help_text() -> str:
    """The help, with the verbs, groups and settings there are today."""
    verbs = [f"  {f'maml-exp {name} {verb.usage}':<37} {verb.meaning}" for name, verb in VERBS.items()]
    groups = []
    for group, meaning in GROUPS.items():
        shown = fill(", ".join(options(group)), 100, initial_indent=" " * 16, subsequent_indent=" " * 16)
        groups.append(f"  {group:<11} {meaning}\n{shown}")
    names = " ".join(key for key in usual_settings() if key != "schema")
    settings = fill(names, 100, initial_indent="  ", subsequent_indent="  ")
    return TEXT.format(verbs="\n".join(verbs), groups="\n".join(groups), settings=settings).rstrip()

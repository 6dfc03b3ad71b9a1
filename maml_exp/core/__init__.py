"""The mathematics of MAML in plain numpy: no configuration library, no file, no clock.

Words and shapes used throughout (Finn et al. 2017, arXiv:1703.03400):

    T tasks in a meta-batch; K support points and Q query points a task; S inner steps;
    a layer has n inputs and m outputs; P parameters in all, one flat vector theta.

Losses are means over a task's points (and outputs, of the squared error), then over tasks.
"""

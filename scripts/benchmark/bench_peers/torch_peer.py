"""PyTorch, eager, by two routes: `torch.func`, which is how one would write it, and autograd batched by hand.

`torch.func`: grad of the mean over a vmap of the tasks' losses, the inner gradient by `torch.func.grad`.
`hand-batched`: every task's weights stacked along the first axis, `torch.autograd.grad(create_graph=True)`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.func import grad, grad_and_value, vmap

from bench_peers import ADAM, SEED, Case, initial_theta
from maml_exp.core.tasks.base import Batch

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
VARIANTS = ("torch.func/func", "hand-batched/autograd")
Tensors = list[torch.Tensor]  # W (n, m), b (m) of every layer, one after the other


def unflatten(case: Case, theta: np.ndarray) -> Tensors:
    """W and b of every layer from theta (P,)."""
    matrices = case.network.matrices(theta)
    return [torch.tensor(part) for matrix in matrices for part in (matrix[:-1], matrix[-1])]


def flatten(tensors: Tensors) -> np.ndarray:
    """theta (P,)."""
    return torch.cat([tensor.detach().reshape(-1) for tensor in tensors]).numpy()


class Torch:
    """A contender."""

    def __init__(self, case: Case, formula: str):
        torch.set_num_threads(1)
        self.case = case
        self._meta_gradient = {"func": self._by_func, "autograd": self._by_autograd}[formula]
        self._rate, self._activation = case.problem.inner.lr, ACTIVATIONS[case.activation]
        self._parameters = unflatten(case, initial_theta(case))
        options = {"lr": ADAM.lr, "betas": (ADAM.beta1, ADAM.beta2), "eps": ADAM.epsilon}
        self._optimizer = torch.optim.Adam([p.requires_grad_() for p in self._parameters], fused=True, **options)
        self._rng = np.random.default_rng(SEED)

    def _task_loss(self, parameters: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Mean squared error of one task."""
        h = x
        for index in range(0, len(parameters) - 2, 2):
            h = self._activation(torch.addmm(parameters[index + 1], h, parameters[index]))
        return torch.mean((torch.addmm(parameters[-1], h, parameters[-2]) - y) ** 2)

    def _by_func(self, parameters: Tensors, batch: Tensors) -> Tensors:
        def adapted_loss(p: Tensors, xs: torch.Tensor, ys: torch.Tensor, xq: torch.Tensor, yq: torch.Tensor):
            for _ in range(self.case.steps):
                p = [a - self._rate * g for a, g in zip(p, grad(self._task_loss)(p, xs, ys), strict=True)]
            return self._task_loss(p, xq, yq)

        def mean_loss(p: Tensors) -> torch.Tensor:
            return vmap(adapted_loss, in_dims=(None, 0, 0, 0, 0))(p, *batch).mean()

        return grad_and_value(mean_loss)([p.detach() for p in parameters])[0]

    def _stacked_loss(self, parameters: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The tasks' mean squared errors, summed; weights (T, n, m), biases (T, 1, m)."""
        h = x
        for index in range(0, len(parameters) - 2, 2):
            h = self._activation(torch.baddbmm(parameters[index + 1], h, parameters[index]))
        residual = torch.baddbmm(parameters[-1], h, parameters[-2]) - y
        return torch.sum(residual * residual) / x.shape[1]

    def _by_autograd(self, parameters: Tensors, batch: Tensors) -> Tensors:
        xs, ys, xq, yq = batch
        stacked = [p.expand(self.case.tasks, *p.shape[-2:] if p.ndim == 2 else (1, *p.shape)) for p in parameters]
        for _ in range(self.case.steps):
            gradient = torch.autograd.grad(self._stacked_loss(stacked, xs, ys), stacked, create_graph=True)
            stacked = [torch.sub(a, g, alpha=self._rate) for a, g in zip(stacked, gradient, strict=True)]
        return list(torch.autograd.grad(self._stacked_loss(stacked, xq, yq) / self.case.tasks, parameters))

    def run(self, iterations: int) -> None:
        """Train."""
        family, tasks = self.case.family, self.case.tasks
        for _ in range(iterations):
            batch = [torch.from_numpy(part) for part in family.sample(self._rng, tasks, np.float32)]
            gradients = self._meta_gradient(self._parameters, batch)
            for parameter, gradient in zip(self._parameters, gradients, strict=True):
                parameter.grad = gradient
            self._optimizer.step()

    def gradient(self, theta: np.ndarray, batch: Batch) -> np.ndarray:
        """The meta-gradient (P,)."""
        parameters = [p.requires_grad_() for p in unflatten(self.case, theta)]
        return flatten(self._meta_gradient(parameters, [torch.from_numpy(part) for part in batch]))

    def theta(self) -> np.ndarray:
        """The parameters now (P,)."""
        return flatten(self._parameters)


def make(case: Case, variant: str) -> Torch:
    """One of `VARIANTS`."""
    return Torch(case, variant.split("/")[1])

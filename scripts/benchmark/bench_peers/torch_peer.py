"""PyTorch, eager, by two routes: `torch.func`, which is how one would write it, and autograd batched by hand.

`torch.func`: grad of the mean over a vmap of the tasks' losses, the inner gradient by `torch.func.grad`.
`hand-batched`: every task's weights stacked along the first axis, `torch.autograd.grad(create_graph=True)`.
"""

from __future__ import annotations

import numpy as np
import torch
from torch.func import grad, grad_and_value, vmap

from bench_peers import ADAM, SEED, Case, initial_theta
from maml_exp.core.network import LAYER_NORM_EPSILON
from maml_exp.core.tasks.base import Batch

ACTIVATIONS = {"relu": torch.relu, "tanh": torch.tanh}
VARIANTS = ("torch.func/func", "hand-batched/autograd")
Tensors = list[torch.Tensor]  # W (n, m), b (m) of every layer, one after the other


def squared_error(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean over points and outputs."""
    residual = z - y
    return torch.mean(residual * residual)


def cross_entropy(z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """The mean over points; targets are one-hot."""
    return -torch.mean(torch.sum(y * torch.log_softmax(z, -1), -1))


ERRORS = {"mean squared error": squared_error, "cross-entropy": cross_entropy}


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
        self.case, self._family = case, case.family
        self._meta_gradient = {"func": self._by_func, "autograd": self._by_autograd}[formula]
        self._rate, self._activation = case.problem.inner.lr, ACTIVATIONS[case.activation]
        self._error, self._layer_norm = ERRORS[case.family.loss.name], case.network.layer_norm
        self._parameters = unflatten(case, initial_theta(case))
        options = {"lr": ADAM.lr, "betas": (ADAM.beta1, ADAM.beta2), "eps": ADAM.epsilon}
        self._optimizer = torch.optim.Adam([p.requires_grad_() for p in self._parameters], fused=True, **options)
        self._rng = np.random.default_rng(SEED)

    def _behind(self, z: torch.Tensor) -> torch.Tensor:
        """What the next layer sees of a hidden layer's outputs."""
        if self._layer_norm:
            z = torch.nn.functional.layer_norm(z, z.shape[-1:], eps=LAYER_NORM_EPSILON)
        return self._activation(z)

    def _task_loss(self, parameters: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The loss of one task."""
        h = x
        for index in range(0, len(parameters) - 2, 2):
            h = self._behind(torch.addmm(parameters[index + 1], h, parameters[index]))
        return self._error(torch.addmm(parameters[-1], h, parameters[-2]), y)

    def _by_func(self, parameters: Tensors, batch: Tensors) -> Tensors:
        def adapted_loss(p: Tensors, xs: torch.Tensor, ys: torch.Tensor, xq: torch.Tensor, yq: torch.Tensor):
            for _ in range(self.case.steps):
                p = [a - self._rate * g for a, g in zip(p, grad(self._task_loss)(p, xs, ys), strict=True)]
            return self._task_loss(p, xq, yq)

        def mean_loss(p: Tensors) -> torch.Tensor:
            return vmap(adapted_loss, in_dims=(None, 0, 0, 0, 0))(p, *batch).mean()

        return grad_and_value(mean_loss)([p.detach() for p in parameters])[0]

    def _stacked_loss(self, parameters: Tensors, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The tasks' losses, summed; weights (T, n, m), biases (T, 1, m)."""
        h = x
        for index in range(0, len(parameters) - 2, 2):
            h = self._behind(torch.baddbmm(parameters[index + 1], h, parameters[index]))
        return len(x) * self._error(torch.baddbmm(parameters[-1], h, parameters[-2]), y)

    def _by_autograd(self, parameters: Tensors, batch: Tensors) -> Tensors:
        xs, ys, xq, yq = batch
        stacked = [p.expand(self.case.tasks, *p.shape[-2:] if p.ndim == 2 else (1, *p.shape)) for p in parameters]
        for _ in range(self.case.steps):
            gradient = torch.autograd.grad(self._stacked_loss(stacked, xs, ys), stacked, create_graph=True)
            stacked = [torch.sub(a, g, alpha=self._rate) for a, g in zip(stacked, gradient, strict=True)]
        return list(torch.autograd.grad(self._stacked_loss(stacked, xq, yq) / self.case.tasks, parameters))

    def run(self, iterations: int) -> None:
        """Train."""
        family, tasks = self._family, self.case.tasks
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

"""What an inner loop is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from maml_exp.core.inner.layers.rates import UnitRates
from maml_exp.core.losses import Loss
from maml_exp.core.network import Network


@dataclass(frozen=True)
class Structure:
    """Everything about an inner loop but its sizes.

    Layers below the first that moves are a trunk: their outputs are the same in all steps. With a context there is
    none, as it moves what the first layer sees.
    """

    network: Network  # the first layer's inputs are with the context
    loss: Loss  # of the query set, and of the support set unless that is learned
    moves: tuple[bool, ...]  # of every layer
    rates: type = UnitRates  # of whatever moves
    context: int = 0  # c, numbers a task beside x
    two_heads: bool = False  # support passes end in a last layer of their own
    loss_network: Network | None = None  # of a learned support loss
    loss_sees_targets: bool = True
    pairs: bool | None = None  # force one representation of the adapted weights; None chooses layer by layer
    features: bool = False  # this is what is above a trunk, which wants the derivative of its outputs

    @cached_property
    def trunk(self) -> Network | None:
        """The layers below the first that moves."""
        layers = 0 if self.context else self.moves.index(True)
        return replace(self.network, sizes=self.network.sizes[: layers + 1]) if layers else None

    @cached_property
    def above(self) -> Structure:
        """What is above the trunk."""
        if self.trunk is None:
            return self
        layers = len(self.trunk.shapes)
        network = replace(self.network, sizes=self.network.sizes[layers:])
        return replace(self, network=network, moves=self.moves[layers:], features=True)

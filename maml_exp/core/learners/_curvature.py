"""What first order would drop of a meta-gradient, to be logged."""

from __future__ import annotations

import numpy as np

from maml_exp.core.arrays import norm

Array = np.ndarray
CURVATURE = ("curvature_share", "fomaml_cosine")


def curvature(exact: Array, first_order: Array) -> dict[str, float]:
    """What first order drops of the exact meta-gradient (P,): its norm relative to the whole; the cosine of both."""
    size = norm(exact)
    share = norm(exact - first_order) / size
    cosine = (exact @ first_order).item() / (size * norm(first_order))
    return dict(zip(CURVATURE, (share, cosine), strict=True))

"""Where a coefficient lies, by inversion: which coefficients the noisy moments do not contradict (docs/proofs/encrypted.md)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

_Array = npt.NDArray[np.float64]


def ends_of(moments: _Array, cross: _Array, direction: _Array, width: float) -> tuple[float, float] | None:
    """The ends of `direction`·β for the β that solve moments·β = cross before noise; None where noise leaves them open.

    `moments` (k by k, symmetric) and `cross` (k) are noisy, not projected and without a ridge; `width` is the 95 % half width of the
    noise of one entry. At the true β, moments·β - cross is noise alone, in no direction of a larger variance than 1 + (2 - 1/k)·|β|²
    times that of one entry. Those β are kept whose misfit is less than `width` times the root of this, the other coefficients being
    chosen to fit best: of a matrix with a known smallest eigenvalue, hence a quadratic inequality, as Fieller's for a ratio.
    """
    size = len(cross)
    root = math.sqrt(2 - 1 / size)
    misfit = np.column_stack([moments @ _basis(direction) / root, -cross])
    _, singular, turned = np.linalg.svd(misfit)
    squares = np.append(singular**2, 0.0)  # one column more than rows: β = moments⁻¹·cross fits wholly
    if squares[-2] <= width**2:
        return None
    across, both, down = (
        float(np.sum(one * other / (squares - width**2)))
        for one, other in ((turned[:, 0], turned[:, 0]), (turned[:, 0], turned[:, -1]), (turned[:, -1], turned[:, -1]))
    )
    if down >= 0:
        return None
    # across - 2·t·both + t²·down ≥ 0, for t = direction·β·root / |direction|
    reach = math.sqrt(max(both**2 - across * down, 0.0)) / -down
    unit = float(np.linalg.norm(direction)) / root
    return unit * (both / down - reach), unit * (both / down + reach)


def _basis(direction: _Array) -> _Array:
    """Orthonormal columns, the first along `direction`."""
    found, _ = np.linalg.qr(np.column_stack([direction, np.eye(len(direction))]))
    return np.asarray(found[:, : len(direction)] * (1.0 if found[:, 0] @ direction > 0 else -1.0))

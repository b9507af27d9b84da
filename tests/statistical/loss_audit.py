"""How much loss draws from two neighbouring inputs prove: a lower bound that holds with 99 % confidence.

An event is chosen on one half of the draws and judged on the other half, so that choosing costs no confidence. A mechanism
that keeps its claim is accused with probability below 1 %, and by three audits in a row below one in a million; a test accuses
only then.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri
from scipy.stats import beta

from privacy.mechanisms import Noise, NoiseKind

Draws = npt.NDArray[np.float64]

CONFIDENCE = 0.99
# Each of the two probabilities of an event is bounded with half of the error.
_ONE_SIDE = 1 - (1 - CONFIDENCE) / 2
# Stricter, so that an event is not chosen for its luck.
_CHOOSING = 0.9999
_PORTION = 20_000


def at_least(hits: int, draws: int, confidence: float = CONFIDENCE) -> float:
    """The Clopper-Pearson lower bound of a probability."""
    return float(beta.ppf(1 - confidence, hits, draws - hits + 1)) if hits else 0.0


def at_most(hits: int, draws: int, confidence: float = CONFIDENCE) -> float:
    """The Clopper-Pearson upper bound of a probability."""
    return float(beta.ppf(confidence, hits + 1, draws - hits)) if hits < draws else 1.0


def epsilon_of(more: float, less: float) -> float:
    """The ε that two probabilities of one event prove."""
    return math.log(more / less) if more > less > 0 else 0.0


def rho_of(more: float, less: float) -> float:
    """The ρ = μ²/2 that two probabilities of one event prove of Gaussian noise (Dong, Roth, Su 2022: μ-GDP).

    Sharper than what zCDP alone says of one event. Discrete noise follows it from a scale of about 7 up; audits stay above.
    """
    distance = float(ndtri(more) - ndtri(less)) if 0 < less < more < 1 else 0.0
    return distance**2 / 2


PROVEN = {NoiseKind.LAPLACE: epsilon_of, NoiseKind.GAUSSIAN: rho_of}


def loss_found(one: Draws, other: Draws, proven: Callable[[float, float], float]) -> float:
    """A loss that the mechanism has with 99 % confidence; over tails of the statistic, in both directions of the pair."""
    half = len(one) // 2
    cuts = np.unique(np.quantile(np.concatenate([one[:half], other[:half]]), np.linspace(0.005, 0.995, 67)))
    best, chosen = -1.0, (one, other, 1.0, 0.0)
    for more, less in ((one, other), (other, one)):
        for sign in (1.0, -1.0):
            for cut in cuts:
                p, q = _hits(more[:half], sign, cut), _hits(less[:half], sign, cut)
                found = proven(at_least(p, half, _CHOOSING), at_most(q, half, _CHOOSING))
                if found > best:
                    best, chosen = found, (more, less, sign, float(cut))
    more, less, sign, at = chosen
    rest = len(one) - half
    p, q = _hits(more[half:], sign, at), _hits(less[half:], sign, at)
    return proven(at_least(p, rest, _ONE_SIDE), at_most(q, rest, _ONE_SIDE))


def _hits(draws: Draws, sign: float, cut: float) -> int:
    return int(np.count_nonzero(sign * draws >= sign * cut))


def pair_of_draws(noise: Noise, one: Sequence[int], other: Sequence[int], times: int) -> tuple[Draws, Draws]:
    """`times` draws on each of two neighbouring vectors, as rows; both at once, for OpenDP lets go of the interpreter lock."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda vector: _draws(noise, list(vector), times), (one, other))
    return first, second


def _draws(noise: Noise, vector: list[int], times: int) -> Draws:
    """In portions, so that a million draws are never a million Python integers at once."""
    portions = [min(_PORTION, times - start) for start in range(0, times, _PORTION)]
    drawn = [np.array(noise.draw(vector * portion), dtype=np.float64) for portion in portions]
    return np.concatenate(drawn).reshape(times, len(vector))


def joint_statistic(noise: Noise, draws: Draws, one: Sequence[int], other: Sequence[int]) -> Draws:
    """The log-likelihood ratio of the whole vector: the statistic that sees the loss of all its entries together."""
    here, there = np.array(one, dtype=np.float64), np.array(other, dtype=np.float64)
    scale = float(noise.scale)
    if noise.kind is NoiseKind.LAPLACE:
        ratio = (np.abs(draws - there) - np.abs(draws - here)) / scale
    else:
        ratio = (draws - (here + there) / 2) * (here - there) / scale**2
    return np.asarray(ratio.sum(axis=1))


def vector_loss(noise: Noise, one: Sequence[int], other: Sequence[int], times: int) -> float:
    """The loss that `times` draws on each of two vectors prove; the noise says in which currency."""
    first, second = pair_of_draws(noise, one, other, times)
    statistics = joint_statistic(noise, first, one, other), joint_statistic(noise, second, one, other)
    return loss_found(*statistics, PROVEN[noise.kind])


def keeps_its_claim(audit: Callable[[], float], claim: float) -> bool:
    """Whether at least one of three audits finds no more than the claim."""
    return any(audit() <= claim for _ in range(3))

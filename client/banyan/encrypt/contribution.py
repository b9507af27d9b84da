"""What a provider that leaves nothing at the service gives to one job: its totals, its share of noise, and masks that cancel in the sum."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction

import opendp.domains
import opendp.measurements
import opendp.metrics
import opendp.mod
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from banyan.encrypt.pair_masks import masks
from banyan.encrypt.profiles import profile_named
from banyan.encrypt.shares import Share
from banyan.encrypt.terms import Terms

opendp.mod.enable_features("contrib")


def contributed(
    vectors: Mapping[str, Sequence[int]], terms: Terms, share: Share, signing: Ed25519PrivateKey
) -> dict[str, list[int]]:
    """The numbers to encrypt, by vector, each within ±T/2. Noise is drawn anew each time: give a job one contribution only."""
    span = profile_named(terms.profile).span
    found = {}
    for name, scale in share.scales:
        totals = vectors[name]
        noise = _noise(scale, len(totals))
        hidden = masks(signing, share.partners, share.job, name, len(totals), span)
        found[name] = [
            _centred((total + drawn + mask) % span, span)
            for total, drawn, mask in zip(totals, noise, hidden, strict=True)
        ]
    return found


def _noise(scale: Fraction, length: int) -> list[int]:
    """Discrete Gaussian noise: OpenDP's measurement on zeros."""
    integers = opendp.domains.vector_domain(opendp.domains.atom_domain(T="i64"))
    measurement = opendp.measurements.make_gaussian(integers, opendp.metrics.l2_distance(T="f64"), scale=float(scale))
    return list(measurement([0] * length))


def _centred(value: int, span: int) -> int:
    return value - span if value > (span - 1) // 2 else value

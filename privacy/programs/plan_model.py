"""What a planned program is: everything that gate and ledger need, and nothing that depends on data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any, Self

from core.units import exact, text_of
from privacy.accountant import Accountant, Loss, loss_of
from privacy.mechanisms import Noise, NoiseKind
from privacy.programs.block_count import MAX_BLOCKS
from privacy.programs.outputs import Aggregate, Output, check_outputs
from privacy.quantile import ChoiceKind, Median

SCHEMA = "banyan.program_plan/1"
_FIELDS = {
    "schema", "outputs", "blocks", "accountant", "epsilon", "delta", "price", "noise", "median", "forecast", "trade",
}  # fmt: skip
_OF_FORECAST = {"name", "kind", "width", "noise_95", "noise_ranks"}

# An answer of a block is counted in this many steps of its range: far finer than any noise, and 100,000 blocks add up to less than 2^49.
STEPS = 2**32
# A median is one of 1,001 values; each stands for several candidates, among which the blocks with that answer are spread by their
# numbers, so that a crowd of equal answers still has a middle.
MEDIAN_STEPS = 1000
MEDIAN_SPREAD = 32
MEDIAN_CANDIDATES = (MEDIAN_STEPS + 1) * MEDIAN_SPREAD
# Measured: what OpenDP takes to look at one candidate.
SECONDS_OF_A_TRY = 4.5e-6


@dataclass(frozen=True)
class ProgramRequest:
    """What a researcher asks, and the declared numbers of units and of stored blocks. `blocks` None leaves their number to the plan.

    `accuracy` names mean outputs, with the 95 % half width of noise that is asked of them.
    """

    outputs: tuple[Output, ...]
    epsilon: Fraction
    delta: Fraction | None
    accountant: Accountant
    blocks: int | None
    accuracy: tuple[tuple[str, Decimal], ...]
    units: int
    stored_blocks: int


@dataclass(frozen=True)
class Forecast:
    """What can be said of an output before data is opened.

    `noise_95` is a 95 % half width per number, for a mean; `noise_ranks` a sentence on ranks, for a median.
    """

    name: str
    kind: Aggregate
    width: int
    noise_95: str | None
    noise_ranks: str | None

    def to_json(self) -> dict[str, Any]:
        """A JSON object."""
        return {
            "name": self.name,
            "kind": self.kind.value,
            "width": self.width,
            "noise_95": self.noise_95,
            "noise_ranks": self.noise_ranks,
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """The record that `to_json` wrote; raises ValueError or KeyError for anything else."""
        if set(stored) != _OF_FORECAST:
            raise ValueError("not a forecast")
        return cls(**{**stored, "kind": Aggregate(stored["kind"])})


@dataclass(frozen=True)
class ProgramPlan:
    """A planned program; a function of the request only (design R10). The price is what the ledger is charged, exactly.

    `noise` is on the joint vector of all numbers of all mean outputs; `median` is drawn once for each number of a median output.
    """

    outputs: tuple[Output, ...]
    blocks: int
    accountant: Accountant
    epsilon: Fraction
    delta: Fraction
    price: Loss
    noise: Noise | None
    median: Median | None
    forecast: tuple[Forecast, ...]
    trade: tuple[str, ...]

    def __post_init__(self) -> None:
        if type(self.blocks) is not int or not 1 <= self.blocks <= MAX_BLOCKS:
            raise ValueError("a program runs on a whole number of blocks")
        if self.accountant is Accountant.BASIC and self.delta:
            raise ValueError("no mechanism here needs a delta in basic accounting")
        asked = loss_of(self.accountant, self.epsilon, self.delta)
        if self.price != Loss(epsilon=asked.epsilon, rho=asked.rho):
            raise ValueError("the price of a plan is what was asked")
        means, medians = widths_of(self.outputs)
        if (means > 0) != (self.noise is not None) or (medians > 0) != (self.median is not None):
            raise ValueError("a plan has the mechanisms of its outputs")
        if self.noise is not None and (self.noise.l0, self.noise.linf) != (means, STEPS):
            raise ValueError("one changed block changes each number of each mean output")
        if self.median is not None and self.median.candidates != MEDIAN_CANDIDATES:
            raise ValueError("a median is chosen among all its candidates")
        basic = self.accountant is Accountant.BASIC
        kinds = (
            (NoiseKind.LAPLACE, ChoiceKind.PERMUTE_AND_FLIP) if basic else (NoiseKind.GAUSSIAN, ChoiceKind.EXPONENTIAL)
        )
        if any(mechanism.kind not in kinds for mechanism in self.mechanisms):
            raise ValueError("these mechanisms are not priced in the currency of this accountant")
        if sum(mechanism.price for mechanism in self.mechanisms) > (self.price.epsilon if basic else self.price.rho):
            raise ValueError("the mechanisms cost more than the plan")

    @property
    def mechanisms(self) -> tuple[Noise | Median, ...]:
        """Every measurement of the release: the joint one of the means first, then one for each number of a median."""
        noise = () if self.noise is None else (self.noise,)
        return noise if self.median is None else (*noise, *(self.median,) * widths_of(self.outputs)[1])

    @property
    def width(self) -> int:
        """How many numbers a block answers."""
        return sum(output.width for output in self.outputs)

    @property
    def choosing_seconds(self) -> float:
        """Seconds of one ordinary core in which all medians are drawn whatever the answers are, but for one release in a million.

        How long OpenDP takes depends on the answers, so that a gate must plan for the longest (design R9). Permute-and-flip tries each
        candidate once at most; the exponential mechanism tries m of them on average where only one is likely (a geometric law).
        """
        medians = widths_of(self.outputs)[1]
        if self.median is None:
            return 0.0
        tries = medians if self.median.kind is ChoiceKind.PERMUTE_AND_FLIP else 2 * medians + 28
        return tries * self.median.candidates * SECONDS_OF_A_TRY

    @property
    def max_partial_bytes(self) -> int:
        """The bytes of one block's answer."""
        return 8 * self.width

    def to_json(self) -> dict[str, Any]:
        """The JSON form, of which RFC 8785 bytes exist; `ProgramPlan.from_json` is its inverse."""
        return {
            "schema": SCHEMA,
            "outputs": [output.to_json() for output in self.outputs],
            "blocks": self.blocks,
            "accountant": self.accountant.value,
            "epsilon": text_of(self.epsilon),
            "delta": text_of(self.delta),
            "price": self.price.to_json(),
            "noise": None if self.noise is None else self.noise.to_json(),
            "median": None if self.median is None else self.median.to_json(),
            "forecast": [entry.to_json() for entry in self.forecast],
            "trade": list(self.trade),
        }

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Self:
        """Rebuild what `to_json` gave. Raises ValueError or Invalid for anything else."""
        if set(stored) != _FIELDS or stored["schema"] != SCHEMA:
            raise ValueError("not a program plan of this version")
        noise, median = stored["noise"], stored["median"]
        outputs = tuple(Output.from_json(entry) for entry in stored["outputs"])
        check_outputs(outputs)
        return cls(
            outputs=outputs,
            blocks=stored["blocks"],
            accountant=Accountant(stored["accountant"]),
            epsilon=exact(stored["epsilon"]),
            delta=exact(stored["delta"]),
            price=Loss.from_json(stored["price"]),
            noise=None if noise is None else Noise.from_json(noise),
            median=None if median is None else Median.from_json(median),
            forecast=tuple(Forecast.from_json(entry) for entry in stored["forecast"]),
            trade=tuple(stored["trade"]),
        )


def widths_of(outputs: tuple[Output, ...]) -> tuple[int, int]:
    """How many numbers the mean outputs have together, and how many the median outputs."""
    means = sum(output.width for output in outputs if output.aggregate is Aggregate.MEAN)
    return means, sum(output.width for output in outputs) - means

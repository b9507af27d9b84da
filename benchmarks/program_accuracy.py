"""How accurate the example programs are on the real data: bias of blocks and noise of 1,000 releases, beside what the plan says of noise.

Run by `just bench-accuracy`; needs the demo's data and the `python` image; writes the measured part of docs/examples.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.program_blocks import (
    CHECKOUT,
    EXAMPLES,
    BlockAnswers,
    Example,
    block_answers,
    numbers_of,
    read_example,
    stored_blocks,
)
from core.units import text_of
from privacy.programs.answers import answers_of
from privacy.programs.outputs import Aggregate, Output
from privacy.programs.plan_model import ProgramPlan
from privacy.programs.release import release_program

Numbers = npt.NDArray[np.float64]
PAGE = CHECKOUT / "docs" / "examples.md"
MARK = "<!-- from here on written by: just bench-accuracy -->\n"
DRAWS = 1000
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Measured:
    """One coordinate: what it is without noise, and how far the releases were from that; for a median, distances are in ranks."""

    coordinate: str
    output: Output
    whole: float
    without_noise: float
    planned: float
    distances: Numbers

    @property
    def bias(self) -> float:
        """What blocks, clamping and defaults change."""
        return self.without_noise - self.whole

    @property
    def found(self) -> float:
        """The noise that 95 % of the releases kept."""
        return float(np.quantile(self.distances, CONFIDENCE))

    @property
    def within(self) -> float:
        """The share of releases that kept what was planned."""
        return float((self.distances <= self.planned).mean())


def measure(example: Example, answers: BlockAnswers) -> list[Measured]:
    """Draw the noise 1,000 times over one set of block answers."""
    at_gate = answers_of(example.plan, answers.partials)
    counted = counted_answers(example.plan, answers.partials)
    releases = [release_program(at_gate, example.plan).rows for _ in range(DRAWS)]
    draws = np.array([[float(row["value"]["value"]) for row in rows] for rows in releases])
    outputs = [output for output in example.plan.outputs for _ in range(output.width)]
    found = []
    for at, (name, output) in enumerate(zip(example.coordinates, outputs, strict=True)):
        column, drawn = np.sort(counted[:, at]), draws[:, at]
        if output.aggregate is Aggregate.MEAN:
            middle, distances = float(column.mean()), np.abs(drawn - column.mean())
        else:
            middle, distances = float(np.median(column)), ranks_from_middle(column, drawn)
        found.append(Measured(name, output, answers.whole[at], middle, planned_noise(example, output), distances))
    return found


def counted_answers(plan: ProgramPlan, partials: Mapping[int, bytes]) -> Numbers:
    """What each block counts as, a row a block, reckoned here without the gate: clamped, or the default where it gave no answer."""
    outputs = [output for output in plan.outputs for _ in range(output.width)]
    lower, upper, default = (
        np.array([float(getattr(output, end)) for output in outputs]) for end in ("lower", "upper", "default")
    )
    answers = [np.array(numbers_of(partials[block])) if block in partials else default for block in range(plan.blocks)]
    return np.array([np.clip(answer if np.isfinite(answer).all() else default, lower, upper) for answer in answers])


def ranks_from_middle(column: Numbers, drawn: Numbers) -> Numbers:
    """How far from the median, in shares of the block answers, each released value lies; equal answers have all their ranks."""
    below = np.searchsorted(column, drawn, side="left") / len(column)
    up_to = np.searchsorted(column, drawn, side="right") / len(column)
    return np.maximum(np.maximum(below - 0.5, 0.5 - up_to), 0.0)


def planned_noise(example: Example, output: Output) -> float:
    """What the plan says that 95 % of releases keep to: a half width, or for a median a distance in ranks."""
    (told,) = [entry for entry in _forecast(example) if entry["name"] == output.name]
    if output.aggregate is Aggregate.MEAN:
        return float(told["noise_95"])
    low, high = (int(found) / 100 for found in re.findall(r"(\d+)(?:st|nd|rd|th)", told["noise_ranks"]))
    return max(0.5 - low, high - 0.5)


def _forecast(example: Example) -> list[dict[str, str]]:
    return [entry.to_json() for entry in example.plan.forecast]


def plan_lines(example: Example) -> list[str]:
    """What the page says from the plan alone: a sentence, and the beginning of each row."""
    plan, declaration = example.plan, example.declaration
    share = declaration.units / plan.blocks
    about = f"{share:.1f}" if share < 10 else f"{share:.0f}"
    sentence = (
        f"`examples/{example.name}.yaml` on `{declaration.asset}`: {plan.blocks} blocks of about {about} {declaration.population.name}, "
        f"ε = {text_of(plan.epsilon)}, {text_of(example.work.seconds)} s of processor time a block."
    )
    outputs = [output for output in plan.outputs for _ in range(output.width)]
    return [sentence, *(_plan_cells(example, *pair) for pair in zip(example.coordinates, outputs, strict=True))]


def _plan_cells(example: Example, coordinate: str, output: Output) -> str:
    return f"| {coordinate} | {output.aggregate} | {_noise(output, planned_noise(example, output))} |"


def _noise(output: Output, noise: float) -> str:
    return f"± {noise:.2g}" if output.aggregate is Aggregate.MEAN else f"± {100 * noise:.0f} percentiles"


def section(example: Example, answers: BlockAnswers) -> str:
    """What the page says of one example."""
    sentence, *rows = plan_lines(example)
    seconds = f"A block took {np.median(answers.seconds):.2f} s (median), {max(answers.seconds):.2f} s at most."
    missing = example.plan.blocks - len(answers.partials)
    table = [
        "| output | aggregate | noise planned | noise found | within | all rows | blocks | bias |",
        "| --- " * 8 + "|",
    ]
    for begun, each in zip(rows, measure(example, answers), strict=True):
        numbers = f"{each.whole:.4g} | {each.without_noise:.4g} | {each.bias:+.2g}"
        table.append(f"{begun} {_noise(each.output, each.found)} | {100 * each.within:.0f} % | {numbers} |")
    return "\n".join(
        [
            f"## {example.name}",
            "",
            sentence,
            f"{seconds} {missing or 'None'} of the blocks counted as their defaults.",
            "",
            *table,
            "",
        ]
    )


def main() -> None:
    """Measure all examples and write the page's second part."""
    image = json.loads((CHECKOUT / ".banyan" / "images.json").read_text(encoding="utf-8"))["python"]["id"]
    written, _, _ = PAGE.read_text(encoding="utf-8").partition(MARK)
    sections = []
    for name in EXAMPLES:
        example = read_example(name)
        sections.append(section(example, block_answers(example, stored_blocks(example), image)))
        print(sections[-1])
    PAGE.write_text(written + MARK + "\n" + "\n".join(sections), encoding="utf-8")


if __name__ == "__main__":
    main()

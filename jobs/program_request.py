"""What a program job asks beside what every job asks: the researcher's file, its declared outputs, and how it is to be run."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

from core.canonical import canonical
from core.errors import Invalid
from jobs import fields
from privacy.programs.outputs import Aggregate, Output

FIELDS = ("program", "params", "outputs", "blocks", "accuracy", "seconds_per_block")
PROGRAM_BYTES = 1 << 20
PARAMS_BYTES = 16 << 10
MAX_OUTPUTS = 64
MAX_BLOCKS = 100_000
LEAST_SECONDS, MOST_SECONDS = Fraction(1, 100), Fraction(60)
_OUTPUT = ("length", "lower", "upper", "default", "aggregate")
_OUTPUT_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")
MAX_NAME = 100
_EXAMPLE = "outputs: {slope: {lower: -3, upper: 3, default: 0, aggregate: mean}}"


@dataclass(frozen=True)
class ProgramAsked:
    """A program: its text and what it may say. `blocks` None leaves their number to the plan; `seconds` are of one core, a block."""

    name: str
    text: str
    params: Mapping[str, Any]
    outputs: tuple[Output, ...]
    blocks: int | None
    accuracy: tuple[tuple[str, Decimal], ...]
    seconds: Fraction

    @property
    def digest(self) -> str:
        """`sha256:` of the program's UTF-8 text."""
        return "sha256:" + hashlib.sha256(self.text.encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """The canonical JSON form of these fields."""
        return {
            "program": {"name": self.name, "text": self.text},
            "params": self.params,
            "outputs": {output.name: _output_json(output) for output in self.outputs},
            "blocks": "auto" if self.blocks is None else self.blocks,
            "accuracy": {name: f"{asked:f}" for name, asked in self.accuracy},
            "seconds_per_block": f"{Decimal(self.seconds.numerator) / Decimal(self.seconds.denominator):f}",
        }


def program_asked(job: Mapping[str, Any]) -> ProgramAsked:
    """The program that a job asks for. Raises Invalid (`program.…`, `params.…`, `outputs.…`, `blocks.…`, `accuracy.…`)."""
    name, text = _program(job["program"])
    blocks = _blocks(job.get("blocks"))
    outputs = _outputs(job.get("outputs"))
    return ProgramAsked(
        name=name,
        text=text,
        params=_params(job.get("params")),
        outputs=outputs,
        blocks=blocks,
        accuracy=_accuracy(job.get("accuracy"), outputs, blocks),
        seconds=_seconds(job.get("seconds_per_block")),
    )


def _program(value: object) -> tuple[str, str]:
    given = fields.mapping(value, "program", ("name", "text"), "program: my_analysis.py")
    name, text = given.get("name"), given.get("text")
    if not isinstance(name, str) or not _is_file_name(name):
        raise Invalid(
            "program.name", "a program's name is a plain file name such as my_analysis.py", where={"field": "program"}
        )
    if not isinstance(text, str) or "\0" in text:
        raise Invalid("program.not_text", "the program is not a text file of Python", where={"field": "program"})
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Invalid("program.not_text", "the program is not UTF-8 text", where={"field": "program"}) from None
    if size > PROGRAM_BYTES:
        raise Invalid(
            "program.too_long",
            "the program is longer than 1 MiB",
            where={"field": "program"},
            way_out="numbers and texts that it needs belong in a registered asset",
        )
    return name, text


def _is_file_name(name: str) -> bool:
    """In any script; what shows nothing, steers a terminal or leads elsewhere is none."""
    return 0 < len(name) <= MAX_NAME and name.isprintable() and not name.startswith(".") and not set(name) & set("/\\")


def _params(value: object) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        raise Invalid("params.invalid", "params are names with values", where={"field": "params"})
    try:
        # As they are stored: 1e16 is written as a whole number, which could not be written again.
        stored: dict[str, Any] = json.loads(canonical(value))
        size = len(canonical(stored))
    except (ValueError, TypeError, RecursionError):
        raise Invalid(
            "params.invalid",
            "params hold what JSON can say exactly: texts, finite numbers, true, false, null, lists and maps",
            where={"field": "params"},
            way_out="whole numbers from 2^53 on go in as texts",
        ) from None
    if size > PARAMS_BYTES:
        raise Invalid("params.too_long", "params are longer than 16 KiB", where={"field": "params"})
    return stored


def _outputs(value: object) -> tuple[Output, ...]:
    if not isinstance(value, Mapping) or not 1 <= len(value) <= MAX_OUTPUTS:
        raise Invalid(
            "outputs.missing",
            f"outputs must declare 1 to {MAX_OUTPUTS} values that the program returns",
            where={"field": "outputs"},
            way_out=_EXAMPLE,
        )
    return tuple(_output(str(name), given) for name, given in value.items())


def _output(name: str, given: object) -> Output:
    field = f"outputs.{name[:60]}"
    if not _OUTPUT_NAME.fullmatch(name):
        raise Invalid(
            "outputs.name",
            "an output's name is small letters, digits and _, at most 40, beginning with a letter",
            where={"field": field},
        )
    said = fields.mapping(given, field, _OUTPUT, _EXAMPLE)
    aggregate = said.get("aggregate", Aggregate.MEAN.value)
    if aggregate not in [known.value for known in Aggregate]:
        raise Invalid("outputs.aggregate", "aggregate is mean or median", where={"field": f"{field}.aggregate"})
    length = said.get("length")
    if length is not None:
        length = fields.whole(length, f"{field}.length", "outputs.length", 1024)
    ends = {part: _number(said, field, part) for part in ("lower", "upper", "default")}
    return Output(name=name, length=length, aggregate=Aggregate(aggregate), **ends)


def _number(said: Mapping[str, Any], field: str, part: str) -> Decimal:
    if said.get(part) is None:
        raise Invalid(
            f"outputs.{part}",
            f"the output must say {part}: {_WHY[part]}",
            where={"field": f"{field}.{part}"},
            way_out=_EXAMPLE,
        )
    return fields.decimal(said[part], f"{field}.{part}", f"outputs.{part}")


_WHY = {
    "lower": "smaller answers of a block count as this",
    "upper": "larger answers of a block count as this",
    "default": "what a block counts as that gives no answer",
}


def _blocks(value: object) -> int | None:
    if value is None or value == "auto":
        return None
    return fields.whole(value, "blocks", "blocks.invalid", MAX_BLOCKS)


def _accuracy(value: object, outputs: tuple[Output, ...], blocks: int | None) -> tuple[tuple[str, Decimal], ...]:
    if value is None or value == {}:
        return ()
    if blocks is not None:
        raise Invalid(
            "accuracy.blocks",
            "the number of blocks follows from the accuracy asked, so only one of them can be given",
            where={"field": "accuracy"},
            way_out="blocks: auto",
        )
    means = tuple(output.name for output in outputs if output.aggregate is Aggregate.MEAN)
    said = fields.mapping(value, "accuracy", means, "accuracy: {slope: 0.1}")
    found = []
    for name, asked in said.items():
        number = fields.decimal(asked, f"accuracy.{name}", "accuracy.invalid")
        if number <= 0:
            raise Invalid("accuracy.invalid", "an accuracy is above 0", where={"field": f"accuracy.{name}"})
        found.append((name, number))
    return tuple(found)


def _seconds(value: object) -> Fraction:
    if value is None:
        return Fraction(1)
    seconds = Fraction(fields.decimal(value, "seconds_per_block", "seconds.invalid"))
    if not LEAST_SECONDS <= seconds <= MOST_SECONDS:
        raise Invalid(
            "seconds.invalid",
            "seconds_per_block are processor seconds, from 0.01 to 60",
            where={"field": "seconds_per_block"},
        )
    return seconds


def _output_json(output: Output) -> dict[str, Any]:
    return {
        "length": output.length,
        "lower": f"{output.lower:f}",
        "upper": f"{output.upper:f}",
        "default": f"{output.default:f}",
        "aggregate": output.aggregate.value,
    }

"""Decides what the author of a program is told of its run on made-up rows, block by block, before any noise."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any

from banyan import figures, layout
from banyan.result import Result

_FIRST_BLOCKS = 3
_FIRST_NUMBERS = 4
_TAB = 8
_TRACEBACK, _NOT_RUN = "Traceback (most recent call last)", "was not run: what was before it"
# Characters from which a server may have cut the log of one block.
_LONG_LOG = 16_000
_TWICE, _NEARLY_ALL = 2, Decimal("0.9")
_HEADING = re.compile(r"^--- block ([0-9]{1,6})\n", re.MULTILINE)


def lines(result: Result, width: int | None = None) -> list[str]:
    """What the blocks printed and raised, how many answered, and what the first few said; nothing in it can steer a terminal."""
    report = result.mock or {}
    logs = _logs(str(report.get("log") or ""))
    answers, order = _answers(report), [str(row.get("output")) for row in result.rows]
    told = [f"{figures.count(report.get('answered'))} of {figures.count(report.get('blocks'))} made-up blocks answered"]
    broken = sum(_is_broken(answer) for answer in answers)
    if broken:
        told.append(f"{broken:,} of them with what is no finite number: such a block counts as the defaults")
    elif valid_answers(report) < len(answers):
        told.append("on real data a block without an answer counts as the defaults")
    silent = [block for block, answer in enumerate(answers) if answer is None and _TRACEBACK not in logs.get(block, "")]
    if silent:
        took = _took(report, silent)
        after = f", after {figures.amount(max(took))} s of processor time" if len(took) == len(silent) else ""
        told.append(
            f"{_named(silent)} gave no answer and no traceback{after}, for one of these reasons: {_reasons(report, took)}"
        )
    told += [f"block {number}: {_said(answer, order)}" for number, answer in enumerate(answers[:_FIRST_BLOCKS])]
    told += _enough(report, answers)
    return [*_printed(logs), *layout.hanging("Blocks     ", "\n".join(told), width)]


def valid_answers(report: Mapping[str, Any]) -> int:
    """How many blocks gave an answer that would count."""
    return sum(answer is not None and not _is_broken(answer) for answer in _answers(report))


def _enough(report: Mapping[str, Any], answers: Sequence[Any]) -> list[str]:
    """What `seconds_per_block` would do, where it is far less than asked: every block takes its whole slot, used or not."""
    took = _took(report, range(len(answers)))
    asked = figures.decimal_of(_limits(report).get("processor_seconds"))
    if asked is None or not took or len(took) < len(answers) or valid_answers(report) < len(answers):
        return []
    longest = max(took)
    enough = figures.seconds_up(_TWICE * longest)
    if _TWICE * enough > asked:
        return []
    most, would, is_asked = (figures.amount(each) for each in (longest, enough, asked))
    told = f"the longest block took {most} s of processor time: seconds_per_block: {would} would do, twice as much, where {is_asked}"
    return [f"{told} is asked; the release would come sooner"]


def _took(report: Mapping[str, Any], blocks: Iterable[int]) -> list[Decimal]:
    """Processor seconds of those of the blocks of which they are known."""
    found = report.get("took")
    told = found if isinstance(found, list) else []
    seconds = [figures.decimal_of(told[block]) for block in blocks if block < len(told)]
    return [each for each in seconds if each is not None]


def _limits(report: Mapping[str, Any]) -> Mapping[str, Any]:
    """What a block might take; nothing where the server is older."""
    found = report.get("limits")
    return found if isinstance(found, Mapping) else {}


def _reasons(report: Mapping[str, Any], took: Sequence[Decimal]) -> str:
    """All that ends a block without a word of its own, but for processor time where it is known that there was some left."""
    limits, log = _limits(report), str(report.get("log") or "")
    processor, clock, memory = (limits.get(name) for name in ("processor_seconds", "seconds", "memory_bytes"))
    reasons = [
        f"the processor time was over (seconds_per_block{'' if processor is None else f', {figures.amount(processor)} s'})",
        f"the time on the clock was over{'' if clock is None else f' ({figures.amount(clock)} s)'}, by waiting or on a busy machine",
        f"the memory was not enough{'' if memory is None else f' ({figures.mebibytes(memory)})'}",
        "the process crashed, or the program ended it",
    ]
    asked = figures.decimal_of(processor)
    if took and asked is not None and max(took) < asked * _NEARLY_ALL:
        del reasons[0]
    if _NOT_RUN in log:
        reasons.append("it was not run, since what was before it was not gone in time")
    if len(log) >= _LONG_LOG:
        reasons.append("so much was printed that the traceback was cut off")
    return "; ".join(reasons)


def _answers(report: Mapping[str, Any]) -> list[Any]:
    found = report.get("answers")
    return found if isinstance(found, list) else []


def _logs(log: str) -> dict[int | None, str]:
    """What was printed and raised by block, in the order of the log; under None what stands under no block's name."""
    found: dict[int | None, str] = {}
    names = _HEADING.split(log.replace("\r\n", "\n").expandtabs(_TAB))
    for name, text in zip([None, *names[1::2]], names[::2], strict=True):
        block = None if name is None else int(name)
        found[block] = found.get(block, "") + text
    return {block: text.rstrip() for block, text in found.items() if text.strip()}


def _printed(logs: Mapping[int | None, str]) -> list[str]:
    """Each text once, with the names of all blocks that it came from: a mistake shows in most of them alike."""
    found = ["Printed and raised in the blocks"] if logs else []
    for text in dict.fromkeys(logs.values()):
        blocks = sorted(block for block, other in logs.items() if other == text and block is not None)
        found += [f"  --- {_named(blocks)}"] if blocks else []
        found += [f"  {layout.clean(line)}".rstrip() for line in text.lstrip("\n").split("\n")]
    return found


def _named(blocks: Sequence[int]) -> str:
    """`block 0`, or `blocks 0, 3 and 5`."""
    *most, last = (str(block) for block in blocks)
    return f"blocks {', '.join(most)} and {last}" if most else f"block {last}"


def _said(answer: Any, order: Sequence[str]) -> str:
    """A block's answer, its outputs in the order in which they are released."""
    if not isinstance(answer, Mapping):
        return "no answer"
    names = sorted(answer, key=lambda name: order.index(name) if name in order else len(order))
    return " · ".join(f"{name} {_numbers(answer[name])}" for name in names)


def _numbers(value: Any) -> str:
    if not isinstance(value, list):
        return figures.amount(value)
    shown = ", ".join(figures.amount(number) for number in value[:_FIRST_NUMBERS])
    more = f", … ({len(value):,} numbers)" if len(value) > _FIRST_NUMBERS else ""
    return f"[{shown}{more}]"


def _is_broken(answer: Any) -> bool:
    """Whether one of its numbers is none: the server writes those as texts."""
    if not isinstance(answer, Mapping):
        return False
    values = [number for value in answer.values() for number in (value if isinstance(value, list) else [value])]
    return any(figures.decimal_of(number) is None for number in values)

"""The kind `program`: any Python file, by sample and aggregate (docs/proofs/programs.md)."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from core.tier import Tier
from core.units import text_of
from jobs.gate import Gated
from jobs.kind import Host
from jobs.masking import Masking
from jobs.model import Job
from jobs.plan import JobPlan, PublicFacts
from jobs.program_check import checked_imports
from jobs.program_lane import ProgramForm
from jobs.program_request import ProgramAsked
from jobs.program_schedule import ProgramSchedule, block_memory_bytes, program_schedule
from jobs.promise import guarantee_of
from jobs.request import JobRequest
from jobs.schedule import lanes_for
from privacy.guarantee import Guarantee
from privacy.programs.answers import answers_of
from privacy.programs.outputs import Output
from privacy.programs.plan import ProgramRequest, plan_program
from privacy.programs.plan_model import ProgramPlan
from privacy.programs.release import release_program

# On mock data a few blocks tell what the researcher wants to know: each is about as large as a real one.
MOCK_BLOCKS = 8
# runtime_images/python/block_pipes.py writes it, on made-up rows only.
_TOOK = re.compile(r"^--- block ([0-9]{1,6}) took ([0-9]{1,5}\.[0-9]{4}) s of processor time\n", re.MULTILINE)
# The reconciler makes them between its steps: half a second for the most.
LEAST_MOCK_ROWS, MOST_MOCK_ROWS = 200, 30_000


class ProgramKind:
    """See jobs.kind.Kind."""

    name = "program"

    def plan(self, asked: JobRequest, facts: PublicFacts, host: Host) -> JobPlan:
        """Plan a program. Raises Invalid with the line in the program for what cannot run."""
        work = _work(asked)
        preload = checked_imports(work.text, host.images["python"].modules)
        program = plan_program(
            ProgramRequest(
                outputs=work.outputs,
                epsilon=asked.epsilon,
                delta=asked.delta,
                accountant=facts.accountant,
                blocks=work.blocks,
                accuracy=work.accuracy,
                units=max(each.schema.units for each in facts.protected),
                stored_blocks=facts.block_count,
            )
        )
        tier = host.tier_for(host.floor)
        walls = {"isolation": tier.value, "oci_runtime": host.oci_runtime}
        lanes = lanes_for(min(facts.block_count, program.blocks), host.node)
        timing = program_schedule(
            sum(each.schema.rows for each in facts.all),
            blocks=program.blocks,
            stored_blocks=facts.block_count,
            width=program.width,
            choosing_seconds=program.choosing_seconds,
            block_seconds=float(work.seconds),
            preload=preload,
            tier=tier,
            lanes=lanes,
            node=host.node,
        )
        return JobPlan(
            kind=self.name,
            facts=facts,
            epsilon=program.epsilon,
            delta=program.delta,
            price=program.price,
            image=host.images["python"].id,
            lanes=lanes,
            schedule=timing.whole,
            memory_bytes=lanes * host.node.lane_memory_bytes,
            told=_told(work, program, facts, timing, preload)
            | {"block_memory_bytes": block_memory_bytes(host.node.lane_memory_bytes)}
            | walls,
            identity=_identity(work, program) | walls,
        )

    def mock_plan(self, asked: JobRequest, facts: PublicFacts, host: Host) -> JobPlan:
        """The same program on a few blocks, each of about the size that the real plan's blocks have."""
        blocks = self.plan(asked, facts, host).told["blocks"]
        rows = {each.asset: _mock_rows(each, blocks) for each in facts.all}
        few = replace(asked, work=replace(_work(asked), blocks=MOCK_BLOCKS, accuracy=()))
        schema = replace(facts.schema, rows=rows[facts.asset])
        planned = self.plan(few, replace(facts, block_count=MOCK_BLOCKS, schema=schema), host)
        return replace(planned, told={**planned.told, "mock_rows": rows})

    def mock_rows(self, plan: Mapping[str, Any], asset: str) -> int:
        """As `mock_plan` fixed it."""
        return int(plan["mock_rows"][asset])

    def form(self, request: Mapping[str, Any], plan: Mapping[str, Any], *, is_mock: bool) -> ProgramForm:
        """What a lane runs."""
        return ProgramForm(
            name=request["program"]["name"],
            text=request["program"]["text"],
            params=request["params"],
            preload=tuple(plan["preload"]),
            outputs=_program_plan(plan).outputs,
            blocks=plan["blocks"],
            stored_blocks=plan["stored_blocks"],
            tier=Tier(plan["isolation"]),
            oci_runtime=plan["oci_runtime"],
            stage_seconds=plan["stage_seconds"],
            start_seconds=plan["start_seconds"],
            slot_seconds=plan["slot_seconds"],
            own_seconds=plan["own_seconds"],
            clear_seconds=plan["clear_seconds"],
            is_mock=is_mock,
        )

    def gate(self, job: Job, partials: Mapping[int, bytes], masking: Masking | None) -> Gated:  # noqa: ARG002 - nothing is encrypted
        """Clamped answers, noise."""
        program = _program_plan(job.plan)
        answers = answers_of(program, partials)
        return Gated(release_program(answers, program), tuple(answers.defaulted))

    def mock_report(self, plan: Mapping[str, Any], partials: Mapping[int, bytes], log: str) -> dict[str, Any]:
        """How many blocks answered, what each said before any noise, all that was printed, what each took and might take."""
        outputs = _program_plan(plan).outputs
        answers = [answer_told(outputs, partials.get(block)) for block in range(plan["blocks"])]
        answered = sum(answer is not None for answer in answers)
        limits = {
            "processor_seconds": plan["seconds_per_block"],
            "seconds": plan["own_seconds"] - plan["clear_seconds"],
            "memory_bytes": plan.get("block_memory_bytes"),  # told by newer plans only
        }
        took = {int(block): seconds for block, seconds in _TOOK.findall(log)}
        return {
            "blocks": plan["blocks"],
            "answered": answered,
            "answers": answers,
            "took": [took.get(block) for block in range(plan["blocks"])],
            "limits": limits,
            "log": _TOOK.sub("", log),
        }

    def guarantee(self, plan: Mapping[str, Any]) -> Guarantee:
        """The promise."""
        return guarantee_of(plan, _program_plan(plan), plan["blocks"])


def answer_told(outputs: tuple[Output, ...], vector: bytes | None) -> dict[str, Any] | None:
    """The numbers that one block gave, as JSON can say them; None where it gave none."""
    if vector is None:
        return None
    numbers = iter(_json_number(number) for (number,) in struct.iter_unpack(">d", vector))
    return {
        output.name: next(numbers) if output.length is None else [next(numbers) for _ in range(output.length)]
        for output in outputs
    }


def _json_number(number: float) -> float | str:
    return number if math.isfinite(number) else str(number)


def _work(asked: JobRequest) -> ProgramAsked:
    if not isinstance(asked.work, ProgramAsked):
        raise TypeError("only a program is planned as one")
    return asked.work


def _mock_rows(facts: PublicFacts, blocks: int) -> int:
    """So many that a mock block is about as large as a real one; of a public table as many as it declares."""
    wanted = facts.schema.rows if facts.whole else MOCK_BLOCKS * facts.schema.rows // blocks
    return min(MOST_MOCK_ROWS, wanted if facts.whole else max(LEAST_MOCK_ROWS, wanted))


def _program_plan(plan: Mapping[str, Any]) -> ProgramPlan:
    return ProgramPlan.from_json(plan["program_plan"])


def _told(
    work: ProgramAsked,
    program: ProgramPlan,
    facts: PublicFacts,
    timing: ProgramSchedule,
    preload: tuple[str, ...],
) -> dict[str, Any]:
    return {
        "outputs": [entry.to_json() for entry in program.forecast],
        "blocks": program.blocks,
        "units_per_block": _about(facts.schema.units, program.blocks),
        "rows_per_block": _about(facts.schema.rows, program.blocks),
        "trade": list(program.trade),
        "seconds_per_block": text_of(work.seconds),
        "stage_seconds": timing.stage_seconds,
        "start_seconds": timing.start_seconds,
        "slot_seconds": timing.slot_seconds,
        "own_seconds": timing.own_seconds,
        "clear_seconds": timing.clear_seconds,
        "preload": list(preload),
        "program": {"name": work.name, "digest": work.digest},
        "program_plan": program.to_json(),
    }


def _about(whole: int, parts: int) -> str:
    """How many there are in a part, to two digits; from declared numbers."""
    share = whole / parts
    return f"{share:.2g}" if share < 99.5 else f"{int(round(share, 2 - len(str(int(share))))):,}"


def _identity(work: ProgramAsked, program: ProgramPlan) -> dict[str, Any]:
    return {
        "program": work.digest,
        "params": work.params,
        "outputs": [output.to_json() for output in work.outputs],
        "blocks": program.blocks,
        "seconds_per_block": text_of(work.seconds),
    }

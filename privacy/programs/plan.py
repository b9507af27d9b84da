"""What a program costs and on how many blocks it runs, worked out from the request and n_pub alone (design R10).

Proof: docs/proofs/programs.md.
"""

from __future__ import annotations

from core.errors import Invalid
from privacy.programs import block_count
from privacy.programs.accuracy import automatic_blocks
from privacy.programs.forecast import forecast_of
from privacy.programs.outputs import check_outputs
from privacy.programs.plan_model import ProgramPlan, ProgramRequest, widths_of
from privacy.programs.pricing import delta_of, mechanisms_of, price_of
from privacy.programs.trade import trade_of

__all__ = ["ProgramPlan", "ProgramRequest", "plan_program"]


def plan_program(request: ProgramRequest) -> ProgramPlan:
    """The plan. Raises Invalid (`outputs.…`, `blocks.…`, `accuracy.…`, `epsilon.…`, `delta.…`); the same request gives the same plan."""
    check_outputs(request.outputs)
    delta = delta_of(request)
    price = price_of(request.accountant, request.epsilon, delta)
    noise, median = mechanisms_of(request.outputs, request.accountant, price)
    blocks = automatic_blocks(request, delta, noise, median) if request.blocks is None else _given_blocks(request)
    return ProgramPlan(
        outputs=request.outputs,
        blocks=blocks,
        accountant=request.accountant,
        epsilon=request.epsilon,
        delta=delta,
        price=price,
        noise=noise,
        median=median,
        forecast=forecast_of(request.outputs, blocks, noise, median),
        trade=trade_of(request.outputs, blocks, request.units, request.stored_blocks, (noise, median)),
    )


def _given_blocks(request: ProgramRequest) -> int:
    if request.accuracy:
        raise Invalid(
            "accuracy.blocks",
            "the number of blocks follows from the accuracy asked, so only one of them can be given",
            where={"field": "accuracy"},
            way_out="blocks: auto",
        )
    width = sum(widths_of(request.outputs))
    return block_count.given(request.blocks, request.stored_blocks, request.units, width)

"""The promise that goes with a release of a job, made from its stored plan: the same for every kind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from privacy.encrypted.plan_model import EncryptedPlan
from privacy.guarantee import Guarantee
from privacy.programs.plan_model import ProgramPlan
from privacy.sql.plan_model import QueryPlan
from privacy.tails import MechanismKind


def guarantee_of(
    plan: Mapping[str, Any],
    priced: QueryPlan | ProgramPlan | EncryptedPlan,
    blocks: int | None = None,
    providers: int | None = None,
) -> Guarantee:
    """`plan` is the stored one, `priced` its kind's part; `blocks` is how many a program runs on, `providers` whose uploads are added."""
    return Guarantee(
        epsilon=priced.epsilon,
        delta=priced.delta,
        rho=priced.price.rho or None,
        unit=plan["unit"],
        rows=plan["asset"].partition("/")[2] if providers is None else "rows at every provider",
        population=plan["population"],
        accountant=priced.accountant,
        mechanisms=tuple(dict.fromkeys(MechanismKind(mechanism.kind) for mechanism in priced.mechanisms)),
        blocks=blocks,
        providers=providers,
        shared=bool(plan.get("shared")),
    )

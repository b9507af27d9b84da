"""The words of every refusal of this room: what is wrong in one sentence, and the smallest change that would pass.

REFUSALS is in the order in which several refusals of one request are shown: the first that applies. Its texts are filled
with facts that the refused person may read; none is a function of protected data.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from core.errors import BanyanError, Conflict, Forbidden, NotFound
from core.yaml_positions import printable
from policies.model import ResourceKind


@dataclass(frozen=True)
class Refusal:
    """One kind of refusal; `text` and `way_out` are templates over the facts given to `refusal`."""

    error: type[BanyanError]
    text: str
    way_out: str


REFUSALS: Mapping[str, Refusal] = {
    "rule.failed": Refusal(
        Forbidden,
        "a rule could not be evaluated, so the answer is no",
        "ask an operator to run banyan-server doctor",
    ),
    "role.missing": Refusal(
        Forbidden,
        "your roles ({roles}) do not allow {action}",
        "ask an administrator for one of: {needed}",
    ),
    "self_approval": Refusal(
        Forbidden,
        "nobody decides about a policy of their own",
        "ask another operator or reviewer",
    ),
    "policy.none": Refusal(
        Forbidden,
        "no policy that is open to you covers {asset}",
        "propose one that lists {asset}: banyan policies propose FILE",
    ),
    "policy.expired": Refusal(
        Forbidden,
        "the policy {policy} was valid until {until}",
        "propose a new version of {policy} with a later valid.until",
    ),
    "policy.not_active": Refusal(
        Forbidden,
        "the policy {policy} is not in force: {state}",
        "{remedy}",
    ),
    "policy.not_yet_valid": Refusal(
        Forbidden,
        "the policy {policy} is valid from {since}",
        "submit again from {since} on",
    ),
    "policy.person": Refusal(
        Forbidden,
        "the policy {policy} is not open to you",
        "propose a new version of {policy} that lists you or your organisation",
    ),
    "policy.kind": Refusal(
        Forbidden,
        "the policy {policy} allows jobs of kind {kinds}, not {kind}",
        "a job of kind {kinds}",
    ),
    "policy.asset": Refusal(
        Forbidden,
        "the policy {policy} does not cover {asset}; it covers {assets}",
        "another policy, or a new version of {policy} that lists {asset}",
    ),
    "policy.purpose": Refusal(
        Forbidden,
        "the policy {policy} is for the purpose {purposes}, not {purpose}",
        "purpose: {purposes}",
    ),
    "policy.max_runs": Refusal(
        Forbidden,
        "the policy {policy} allows {max_runs} runs, and all of them have been used",
        "propose a new version of {policy} with a larger max_runs",
    ),
    "policy.epsilon": Refusal(
        Forbidden,
        "{asked} asked, {limit} allowed for one job under the policy {policy}",
        "{fits}",
    ),
    "budget.population": Refusal(
        Conflict,
        "{asked} asked, {left} left to the population {population} of {limit}",
        "{fits}",
    ),
    "budget.policy": Refusal(
        Conflict,
        "{asked} asked, {left} left under the policy {policy} of {limit}",
        "{fits}",
    ),
    "budget.person": Refusal(
        Conflict,
        "{asked} asked, {left} left to you under the policy {policy} of {limit}",
        "{fits}",
    ),
}


def refusal(code: str, **facts: str) -> BanyanError:
    """The error to raise for `code`."""
    found = REFUSALS[code]
    return found.error(code, found.text.format(**facts), where={"rule": code}, way_out=found.way_out.format(**facts))


def first(codes: Iterable[str]) -> str:
    """The refusal to show where several apply."""
    present = set(codes)
    return next(code for code in REFUSALS if code in present)


def unknown(kind: ResourceKind, name: str) -> NotFound:
    """What does not exist and what one may not know of: one text for both."""
    word = kind.value.lower()
    return NotFound(f"{word}.unknown", f"there is no {word} {printable(name, 64)} that you may see")

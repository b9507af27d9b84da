"""What a job would cost and give, as the server planned it without opening data, in the words people read."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from banyan import figures, layout
from banyan.plan_words import member, of_encrypted, of_program, of_query

_WORDS = {"query": of_query, "program": of_program, "encrypted": of_encrypted}


class Plan:
    """A plan. `data` is the server's answer; `print(plan)` shows it as `banyan plan` does."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = dict(data)

    @property
    def epsilon(self) -> str:
        """The ε that the job would be charged, as exact text."""
        return str(member(self.data, "price").get("epsilon"))

    @property
    def kind(self) -> str:
        """Which kind of job: query, program or encrypted."""
        return str(self.data.get("kind") or "query")

    @property
    def needs(self) -> list[str]:
        """What is still missing before the job may run; empty when nothing is."""
        return [str(need) for need in self.data.get("needs") or []]

    def lines(self, width: int | None = None) -> list[str]:
        """The plan as text within `width`."""
        found = layout.hanging("Plan    ", self._what(), width)
        found += layout.hanging("Price   ", self._price(), width)
        found += _WORDS.get(self.kind, of_query)(self.data, width)
        found += layout.hanging("Time    ", self._time(), width)
        # The plan that a job was accepted under needed nothing: only a fresh one says what is missing.
        found += layout.hanging("Needs   ", self._needs(), width) if "needs" in self.data else []
        for tip in self.data.get("tips") or []:
            found += layout.hanging("Tip     ", str(tip), width)
        return found

    def __str__(self) -> str:
        return "\n".join(self.lines(80))

    def __repr__(self) -> str:
        return f"<banyan.Plan of a {self.kind} on {self.data.get('asset')}: ε {self.epsilon}>"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def _what(self) -> str:
        data = self.data
        rows, units = figures.count(data.get("rows")), figures.count(data.get("units"))
        known = f"level {data.get('level')}, about {rows} rows, {units} {data.get('population')}"
        joined = [one for one in data.get("joined") or [] if isinstance(one, Mapping)]
        assets = " and ".join(_versioned(one) for one in [data, *joined])
        program = member(data, "program").get("name")
        return f"{self.kind}{f' {program}' if program else ''} on {assets} ({known})"

    def _price(self) -> str:
        left = member(self.data, "left_after")
        parts = [
            f"{word}{figures.amount(one.get('epsilon'), figures.DOWN)} of {figures.amount(one.get('of'))}"
            for word, one in (("ε ", member(left, "population")), ("yours ", member(left, "yours")))
            if one
        ]
        price = f'{spend(member(self.data, "price"))} of the population "{self.data.get("population")}"'
        return price + (f"\n(left after this: {'; '.join(parts)})" if parts else "")

    def _time(self) -> str:
        lanes = self.data.get("lanes")
        return (
            f"released {figures.amount(self.data.get('seconds'))} s after start"
            f" · memory {figures.memory(self.data.get('memory_bytes'))} · {lanes} lane{'s' * (lanes != 1)}"
        )

    def _needs(self) -> str:
        if self.needs:
            return "\n".join(self.needs)
        policy = self.data.get("policy")
        return f"nothing more: policy {policy} allows it" if policy else "nothing more"


def _versioned(asset: Mapping[str, Any]) -> str:
    version = "with no data yet" if asset.get("version") is None else f"v{asset['version']}"
    return f"{asset.get('asset')} {version}"


def spend(loss: Mapping[str, Any]) -> str:
    """`ε 0.5, δ 1e-8`, never rounded down; δ is left out when it is zero."""
    epsilon, delta = (figures.amount(loss.get(name), figures.UP) for name in ("epsilon", "delta"))
    return f"ε {epsilon}" + ("" if delta in ("0", "–") else f", δ {delta}")

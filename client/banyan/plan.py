"""What a job would cost and give, as the server planned it without opening data, in the words people read."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from banyan import figures, layout


class Plan:
    """A plan. `data` is the server's answer; `print(plan)` shows it as `banyan plan` does."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = dict(data)

    @property
    def epsilon(self) -> str:
        """The ε that the job would be charged, as exact text."""
        return str(_member(self.data, "price").get("epsilon"))

    @property
    def needs(self) -> list[str]:
        """What is still missing before the job may run; empty when nothing is."""
        return [str(need) for need in self.data.get("needs") or []]

    def lines(self, width: int | None = None) -> list[str]:
        """The plan as text within `width`."""
        found = layout.hanging("Plan    ", self._what(), width)
        found += layout.hanging("Price   ", self._price(), width)
        found += self._error(width)
        found += layout.hanging("        ", self._groups(), width) if self._groups() else []
        found += layout.hanging("Bounds  ", self._bounds(), width)
        found += layout.hanging("Time    ", self._time(), width)
        # The plan that a job was accepted under needed nothing: only a fresh one says what is missing.
        found += layout.hanging("Needs   ", self._needs(), width) if "needs" in self.data else []
        for tip in self.data.get("tips") or []:
            found += layout.hanging("Tip     ", str(tip), width)
        return found

    def __str__(self) -> str:
        return "\n".join(self.lines(80))

    def __repr__(self) -> str:
        return f"<banyan.Plan on {self.data.get('asset')}: ε {self.epsilon}>"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    def _what(self) -> str:
        data = self.data
        rows, units = figures.count(data.get("rows")), figures.count(data.get("units"))
        known = f"level {data.get('level')}, about {rows} rows, {units} {data.get('population')}"
        version = "with no data yet" if data.get("version") is None else f"v{data['version']}"
        return f"query on {data.get('asset')} {version} ({known})"

    def _price(self) -> str:
        left = _member(self.data, "left_after")
        parts = [
            f"{word}{figures.amount(one.get('epsilon'), figures.DOWN)} of {figures.amount(one.get('of'))}"
            for word, one in (("ε ", _member(left, "population")), ("yours ", _member(left, "yours")))
            if one
        ]
        price = f'{spend(_member(self.data, "price"))} of the population "{self.data.get("population")}"'
        return price + (f"\n(left after this: {'; '.join(parts)})" if parts else "")

    def _error(self, width: int | None) -> list[str]:
        outputs = [output for output in self.data.get("outputs") or [] if isinstance(output, Mapping)]
        rows = [
            [f"  {output.get('name')}", figures.half_width(output.get("noise_95")), str(output.get("clipping"))]
            for output in outputs
        ]
        shown = layout.table(["expected, 95 %", "noise", "clipping"], rows, (1,), width and width - 8)
        return [("Error   " if number == 0 else "        ") + line for number, line in enumerate(shown)]

    def _groups(self) -> str:
        threshold = _member(self.data, "threshold")
        if threshold:
            secret = [str(key.get("name")) for key in self.data.get("keys") or [] if not key.get("public")]
            fewer = f"fewer than about {figures.count(_up(threshold.get('units')))} {self.data.get('population')}"
            return f"groups by {', '.join(secret) or 'a private key'}: those of {fewer} are likely to be lost"
        cells = figures.decimal_of(self.data.get("cells"))
        if cells is None or not self.data.get("keys"):
            return ""
        return f"every declared group is shown: {figures.count(cells)} row{'s' * (cells != 1)}"

    def _bounds(self) -> str:
        bounds, unit = _member(self.data, "bounds"), self.data.get("unit")
        groups, rows = bounds.get("max_groups_per_unit"), bounds.get("max_rows_per_group")
        ends = ", ".join(f"{name} within {low} … {high}" for name, (low, high) in _member(bounds, "clip").items())
        counted = f"{figures.count(groups)} groups per {unit}, {figures.count(rows)} rows of it per group"
        return f"{counted}\n{ends}" if ends else counted

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


def spend(loss: Mapping[str, Any]) -> str:
    """`ε 0.5, δ 1e-8`, never rounded down; δ is left out when it is zero."""
    epsilon, delta = (figures.amount(loss.get(name), figures.UP) for name in ("epsilon", "delta"))
    return f"ε {epsilon}" + ("" if delta in ("0", "–") else f", δ {delta}")


def _member(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}


def _up(value: Any) -> Any:
    found = figures.decimal_of(value)
    return found if found is None else found.to_integral_value(figures.UP)

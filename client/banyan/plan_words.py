"""Decides in which words a plan says what its kind alone knows: bounds and groups of a query, blocks of a program, providers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from banyan import figures, layout

_INDENT = "        "
_ISOLATION = {
    "zygote": "each block in fresh namespaces of its own, one after the other in a container without network",
    "container": "each block in a container of its own, without network",
}


def of_query(data: Mapping[str, Any], width: int | None) -> list[str]:
    """Noise by output, which groups show, and the bounds on one unit's part."""
    rows = [
        [f"  {output.get('name')}", figures.half_width(output.get("noise_95")), str(output.get("clipping"))]
        for output in _outputs(data)
    ]
    found = _error(layout.table(["expected, 95 %", "noise", "clipping"], rows, (1,), _inside(width)))
    groups = _groups(data)
    found += layout.hanging(_INDENT, groups, width) if groups else []
    return found + layout.hanging("Bounds  ", _bounds(data), width)


def of_program(data: Mapping[str, Any], width: int | None) -> list[str]:
    """Noise by output, the blocks and what another number of them would do, and what stands between two blocks."""
    rows = [[f"  {_width(output)}", _noise(output)] for output in _outputs(data)]
    found = _error(layout.table(["expected, 95 %", "noise"], rows, (), _inside(width)))
    blocks = f"{figures.count(data.get('blocks'))}, each about {data.get('units_per_block')} {data.get('population')}"
    found += layout.hanging("Blocks  ", f"{blocks} with about {data.get('rows_per_block')} rows", width)
    for sentence in data.get("trade") or []:
        found += layout.hanging(_INDENT, str(sentence), width)
    return found + layout.hanging("Runs    ", _runs(data), width)


def of_encrypted(data: Mapping[str, Any], width: int | None) -> list[str]:
    """Noise by output beside a plaintext job's, and what is known of the providers."""
    rows = [
        [
            f"  {output.get('name')}",
            figures.half_width(output.get("noise_95")),
            figures.half_width(output.get("plaintext_95")),
        ]
        for output in _outputs(data)
    ]
    headers = ["expected, 95 %", "noise", "were it plaintext"]
    found = _error(layout.table(headers, rows, (1, 2), _inside(width)))
    providers = [str(provider) for provider in data.get("providers") or []]
    overlap = data.get("overlap")
    found += layout.hanging(
        "Sums    ",
        f"of {len(providers)} providers: {', '.join(providers)}; a {data.get('unit')} may be at {overlap} of them\n"
        f"{figures.count(data.get('all_units'))} {data.get('population')} in all; profile {data.get('profile')}",
        width,
    )
    return found


def member(data: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """An object inside the plan, empty if there is none."""
    found = data.get(name)
    return found if isinstance(found, Mapping) else {}


def _outputs(data: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [output for output in data.get("outputs") or [] if isinstance(output, Mapping)]


def _inside(width: int | None) -> int | None:
    return width and width - len(_INDENT)


def _error(shown: list[str]) -> list[str]:
    return [("Error   " if number == 0 else _INDENT) + line for number, line in enumerate(shown)]


def _groups(data: Mapping[str, Any]) -> str:
    threshold = member(data, "threshold")
    if threshold:
        secret = [str(key.get("name")) for key in data.get("keys") or [] if not key.get("public")]
        fewer = f"fewer than about {figures.count(_up(threshold.get('units')))} {data.get('population')}"
        return f"groups by {', '.join(secret) or 'a private key'}: those of {fewer} are likely to be lost"
    cells = figures.decimal_of(data.get("cells"))
    if cells is None or not data.get("keys"):
        return ""
    return f"every declared group is shown: {figures.count(cells)} row{'s' * (cells != 1)}"


def _bounds(data: Mapping[str, Any]) -> str:
    bounds, unit = member(data, "bounds"), data.get("unit")
    groups, rows = bounds.get("max_groups_per_unit"), bounds.get("max_rows_per_group")
    ends = ", ".join(f"{name} within {low} … {high}" for name, (low, high) in member(bounds, "clip").items())
    counted = f"{figures.count(groups)} groups per {unit}, {figures.count(rows)} rows of it per group"
    return f"{counted}\n{ends}" if ends else counted


def _width(output: Mapping[str, Any]) -> str:
    numbers = figures.decimal_of(output.get("width"))
    return (
        str(output.get("name")) if numbers in (None, 1) else f"{output.get('name')} ({figures.count(numbers)} numbers)"
    )


def _noise(output: Mapping[str, Any]) -> str:
    ranks = output.get("noise_ranks")
    if ranks is not None:
        return str(ranks)
    each = "" if figures.decimal_of(output.get("width")) in (None, 1) else " each"
    return figures.half_width(output.get("noise_95")) + each


def _runs(data: Mapping[str, Any]) -> str:
    tier = str(data.get("isolation"))
    within = f" ({data['oci_runtime']})" if data.get("oci_runtime") else ""
    most = f"at most {figures.amount(data.get('seconds_per_block'))} s of processor time"
    # Plans of jobs that were submitted before it was told have none.
    memory = data.get("block_memory_bytes")
    most += "" if memory is None else f" and {figures.mebibytes(memory)} of memory"
    return f"{most} a block\n{_ISOLATION.get(tier, tier)}{within}"


def _up(value: Any) -> Any:
    found = figures.decimal_of(value)
    return found if found is None else found.to_integral_value(figures.UP)

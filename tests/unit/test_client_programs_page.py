"""docs/programs.md shows the example program as it is, its plan as the server makes it and the client prints it, and no code that is none.

`python -m tests.unit.test_client_programs_page` writes these parts of the page anew.
"""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

from banyan.cli.app import app
from banyan.plan import Plan
from banyan.result import Result

from assets.blocks import block_count_for
from benchmarks.program_blocks import CHECKOUT, Example, read_example
from core.settings import Settings
from jobs.kind import Host, Image
from jobs.kinds import KINDS
from jobs.plan import PublicFacts
from jobs.schedule import Node
from policies.policy_file import parse_policy
from privacy.programs.answers import answers_of
from privacy.programs.release import release_program
from tests.unit.program_world import Exact, same

PAGE = CHECKOUT / "docs" / "programs.md"
EXAMPLE = CHECKOUT / "examples" / "traffic" / "delay_regression.yaml"
NAME = "traffic/delay_regression"


def planned(example: Example) -> dict[str, Any]:
    """What the server answers to somebody who has spent nothing yet."""
    declaration = example.declaration
    facts = PublicFacts(
        asset=declaration.asset,
        level=declaration.level,
        population=declaration.population.name,
        accountant=declaration.budget.accountant,
        delta=declaration.budget.delta,
        schema=declaration.schema,
        block_count=block_count_for(declaration.rows),
        version=1,
    )
    node = Node(**{name: Settings.model_fields[name].default for name in Node.__dataclass_fields__})
    modules = (CHECKOUT / "runtime_images" / "python" / "modules.txt").read_text().split("\n")
    host = Host({"python": Image("sha256:" + "0" * 64, frozenset(modules))}, node, lambda floor: floor)
    plan = KINDS["program"].plan(example.asked, facts, host)
    path = EXAMPLE.with_name("program_policy.yaml")
    policy = parse_policy(path.read_text(), path.name, datetime(2026, 11, 25, tzinfo=UTC))
    paid, whole, mine = example.asked.epsilon, declaration.budget.epsilon, policy.epsilon.per_person
    left = {
        "population": {"epsilon": str(whole - paid), "of": str(whole)},
        "yours": {"epsilon": str(mine - paid), "of": str(mine)},
    }
    return {**plan.to_json(), "policy": policy.name, "left_after": left, "needs": [], "tips": list(plan.tips)}


def released(example: Example, plan: dict[str, Any]) -> str:
    """A release with the noise left out, of the values that docs/examples.md has for the blocks."""
    rows = (CHECKOUT / "docs" / "examples.md").read_text().partition(f"## {NAME}\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.split("|")] for line in rows.split("\n") if line.startswith("| ")]
    found = {row[1]: float(row[7]) for row in cells[2:]}
    answers = same(example.plan.blocks, *(found[name] for name in example.coordinates))
    table = release_program(answers_of(example.plan, answers), example.plan, Exact()).to_json()
    guarantee = KINDS["program"].guarantee(plan)
    told = {**guarantee.to_json(), "sentence": guarantee.sentence()}
    return "\n".join(Result({**table, "mode": "real", "guarantee": told}).lines(80))


def parts() -> dict[str, str]:
    """What stands between the marks, by name."""
    example = read_example(NAME)
    plan = json.loads(json.dumps(planned(example)))
    job = "\n".join(line for line in EXAMPLE.read_text().strip().split("\n") if not line.startswith("#"))
    return {
        "program": f"```python\n{EXAMPLE.with_suffix('.py').read_text().strip()}\n```",
        "job": f"```yaml\n{job}\n```",
        "plan": f"```\n$ banyan plan {EXAMPLE.name}\n{Plan(plan)}\n```",
        "result": f"```\n$ banyan submit {EXAMPLE.name} --wait\n{released(example, plan)}\n```",
    }


def written(page: str) -> str:
    for name, text in parts().items():
        begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
        head, _, rest = page.partition(begin)
        page = f"{head}{begin}{text}\n{end}{rest.partition(end)[2]}"
    return page


def test_the_page_shows_the_example_its_plan_and_its_result() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page), "run: python -m tests.unit.test_client_programs_page"


def test_every_code_that_it_explains_is_one() -> None:
    told = set(re.findall(r"`([a-z]+\.(?:[a-z_]+|…))`", PAGE.read_text().partition("## What refusals mean")[2]))
    references = "".join((CHECKOUT / "docs" / "reference" / f"{name}.md").read_text() for name in ("errors", "cli"))
    known = set(re.findall(r"`([a-z]+\.[a-z_]+)`", references))
    assert len(told) > 15
    for code in told:
        assert any(one == code or (code.endswith("…") and one.startswith(code[:-1])) for one in known), code
    of_programs = {code for code in known if code.startswith(("program.", "params.", "outputs.", "accuracy."))}
    explained = [code for code in of_programs if any(code == one or code.startswith(one.rstrip("…")) for one in told)]
    assert set(explained) == of_programs


def test_its_links_lead_somewhere_and_its_commands_exist() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#]+)", page):
        assert (PAGE.parent / link).exists(), link
    known = {command.name or command.callback.__name__ for command in app.registered_commands}
    commands = re.findall(r"^(?:\$ )?banyan (\w+)", page, re.MULTILINE)
    assert len(commands) >= 4
    assert set(commands) <= known


def write() -> None:
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    write()

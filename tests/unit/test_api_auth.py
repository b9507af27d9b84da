"""Who calls is what the bearer token says and nothing else; without one, nothing is read, asked or told (design §9)."""

import asyncio
import re
from datetime import timedelta

import httpx
import pytest

from policies import authorizer, identity
from tests.api_world import COUNT, ApiWorld
from tests.policies_world import quick_folder

OPEN = {("GET", "/v1/health")}


@pytest.fixture(scope="module")
def world():
    with quick_folder() as folder, ApiWorld(folder) as made:
        yield made.furnish()


def routes(world):
    """Method and address of every route, with something in place of what is variable."""
    found = []
    for path, methods in world.app.openapi()["paths"].items():
        filled = re.sub(r"\{\w+\}", "x", path.replace("{number}", "1").replace("{step}", "suspend"))
        found += [(method.upper(), filled) for method in methods]
    return sorted(found)


def served(world):
    """Method and address of everything that the application answers to, listed in its schema or not."""
    found = set()
    for route in world.app.routes:
        included = getattr(route, "original_router", None)
        for each in [route] if included is None else included.routes:
            path = each.path if included is None else f"/v1{each.path}"
            found |= {(method, path) for method in each.methods}
    return found


def refused(answer):
    assert answer.status == 401
    assert answer.code == "token.invalid"
    assert answer.headers["www-authenticate"] == "Bearer"
    return answer.body


def test_the_guards_see_the_routes(world):
    assert len(routes(world)) >= 23
    assert ("POST", "/v1/jobs") in routes(world)
    assert ("POST", "/v1/policies/x/suspend") in routes(world)
    # One that is left out of the schema would be tried by no test here; the schema itself is all that is open beside health.
    listed = {(method.upper(), path) for path, methods in world.app.openapi()["paths"].items() for method in methods}
    assert served(world) - listed == {("GET", "/openapi.json"), ("HEAD", "/openapi.json")}
    assert listed <= served(world)


def test_every_route_but_health_wants_a_token(world):
    for method, path in routes(world):
        answer = world.call(None, method, path)
        if (method, path) in OPEN:
            assert answer.status == 200
        else:
            refused(answer)


def test_a_strangers_body_is_not_read(world):
    """What is not read cannot fill the memory; and a stranger does not learn whether it would have been understood."""
    for method, path in routes(world):
        if method != "POST":
            continue
        sent = []

        async def body(sent=sent):
            for _ in range(100):
                sent.append(1)
                yield b" " * 65536

        async def ask(method=method, path=path, body=body):
            transport = httpx.ASGITransport(world.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://server") as client:
                headers = {"Content-Type": "application/json", "Authorization": "Bearer no"}
                return await client.request(method, path, content=body(), headers=headers)

        assert asyncio.run(ask()).status_code == 401
        assert sent == []


def test_what_is_wrong_with_a_token_is_not_told(world):
    token = world.tokens["rob"]
    with world.server.journal.writing() as tx:
        lasting = timedelta(days=1)
        revoked, short = (identity.issue_token(tx, world.ids["rob"], ["researcher"], lasting, "system") for _ in "ab")
        identity.revoke_token(tx, revoked.id, "system")
    world.clock.advance(timedelta(days=1).total_seconds())
    attempts = [
        {},
        {"Authorization": ""},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": f"Basic {token}"},
        {"Authorization": token},
        {"Authorization": f"Bearer {token}x"},
        {"Authorization": f"Bearer {token[:-1]}"},
        {"Authorization": f"Bearer bny_{'A' * 43}"},
        {"Authorization": f"Bearer {token} {token}"},
        {"Authorization": f"Bearer {'x' * 60_000}"},
        {"Authorization": "Bearer \xff\xfe".encode("latin-1")},
        {"Authorization": f"Bearer {revoked.text}"},
        {"Authorization": f"Bearer {short.text}"},
        {"Cookie": f"token={token}; Authorization={token}"},
        {"X-Authorization": f"Bearer {token}"},
        {"Proxy-Authorization": f"Bearer {token}"},
    ]
    answers = {refused(world.call(None, "GET", "/v1/whoami", headers=headers)) for headers in attempts}
    answers.add(refused(world.call(None, "GET", f"/v1/whoami?token={token}&access_token={token}")))
    assert len(answers) == 1
    assert token not in answers.pop().decode()


def test_the_scheme_is_read_in_any_case(world):
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = world.call(None, "GET", "/v1/whoami", headers={"Authorization": f"{scheme} {world.tokens['rob']}"})
        assert answer.json["principal"] == world.ids["rob"]


def test_no_other_header_says_who_calls(world):
    rosa, token = world.ids["rosa"], world.tokens["rosa"]
    names = (
        "X-User X-Remote-User Remote-User X-Forwarded-User X-Auth-Request-User X-Principal X-Banyan-Principal From "
        "X-Authorization X-Api-Key X-Client-Cert X-Original-User X-Roles X-Organisation Cookie Forwarded"
    ).split()
    headers = dict.fromkeys(names, rosa) | {"X-Access-Token": token, "X-HTTP-Method-Override": "DELETE"}
    plain, dressed = (world.call("rob", "GET", "/v1/whoami", headers=given) for given in ({}, headers))
    assert plain.body == dressed.body
    assert plain.json["principal"] == world.ids["rob"]
    job = world.call("rob", "POST", "/v1/jobs", headers=headers, json=COUNT).json["id"]
    assert world.get("rosa", "/v1/jobs").json["items"] == []
    assert world.get("rob", f"/v1/jobs/{job}").status == 200
    assert world.get("rosa", f"/v1/jobs/{job}").status == 404


def test_a_second_token_changes_nothing(world):
    mine, theirs = (("Authorization", f"Bearer {world.tokens[name]}") for name in ("rob", "olga"))

    async def ask():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(world.app), base_url="http://server") as client:
            return await client.get("/v1/whoami", headers=[mine, theirs])

    assert asyncio.run(ask()).json()["principal"] == world.ids["rob"]


def test_a_token_carries_no_more_than_its_scopes(world):
    with world.server.journal.writing() as tx:
        both = identity.add_principal(tx, "Both", "bureau", ["operator", "researcher"], "system")
        token = identity.issue_token(tx, both.id, ["researcher"], timedelta(days=9), "system")
    world.tokens["narrowed"] = token.text
    assert world.get("narrowed", "/v1/whoami").json["roles"] == ["researcher"]
    assert world.call("narrowed", "POST", "/v1/assets", content=b"x").code == "role.missing"


def test_every_route_asks_the_rules(world, monkeypatch):
    """A route that forgot to ask would answer anybody with a token; with rules that deny all, none gives anything."""
    asked = []

    def deny(principal, action, resource=None, context=None):
        asked.append(action)
        return authorizer.Decision(permit=False, reasons=("self_approval",))

    monkeypatch.setattr(authorizer, "authorise", deny)
    for method, path in routes(world):
        if (method, path) in OPEN:
            continue
        asked.clear()
        named = path.replace("/policies/x", "/policies/visits-research").replace(
            "/assets/x/x", "/assets/medical/visits"
        )
        params = {"format": "csv"} if path.endswith("/versions") else {}
        body = COUNT if path in {"/v1/jobs", "/v1/plans"} else {"digest": "x"}
        sent = {"json": body} if method == "POST" else {}
        answer = world.call("olga", method, named, params=params, **sent)
        assert answer.status in {403, 404}, (method, named, answer)
        assert asked, f"{method} {path} asked nobody"

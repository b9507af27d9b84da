"""The whole job on real data, step by step, through the commands that people use; leaves nothing running.

With `--serve` it sets everything up in the same way and then keeps the server in the foreground.
"""

from __future__ import annotations

import signal
import sys
import time

from demo_encrypted import Encrypted
from demo_server import BIN, CHECKOUT, DEMO, PEOPLE, Demo, main_of, say, step

FLIGHTS, TESTS = CHECKOUT / "examples" / "traffic", CHECKOUT / "examples" / "medical"


def ingest(demo: Demo) -> None:
    """Register both assets and give them data."""
    for folder, asset, data in (
        (FLIGHTS, "traffic/flights", "flights.csv"),
        (TESTS, "medical/covid_testing", "covid_testing.csv"),
    ):
        demo.run("olga", "assets", "register", folder / f"{asset.partition('/')[2]}.yaml")
        demo.run("olga", "assets", "ingest", asset, DEMO / data)


def approve(demo: Demo) -> None:
    """Propose all policies and have them approved by others."""
    demo.run("olga", "policies", "propose", FLIGHTS / "policy.yaml")
    flights = demo.digest_of("traffic-research")
    demo.run("olga", "policies", "approve", "traffic-research", "--digest", flights, refused=True)
    demo.run("rita", "policies", "approve", "traffic-research", "--digest", flights)
    demo.run("olga", "policies", "propose", FLIGHTS / "program_policy.yaml")
    programs = demo.digest_of("traffic-programs")
    demo.run("rita", "policies", "approve", "traffic-programs", "--digest", programs)
    demo.run("olga", "policies", "propose", TESTS / "policy.yaml")
    tests = demo.digest_of("medical-covid-testing")
    demo.run("rita", "policies", "approve", "medical-covid-testing", "--digest", tests)
    demo.run("remy", "policies", "approve", "medical-covid-testing", "--digest", tests)


def tell(demo: Demo) -> None:
    """The eleven steps."""
    begun = time.monotonic()
    encrypted = Encrypted(demo, more=False)
    delays, regression, positives = FLIGHTS / "delays.yaml", FLIGHTS / "delay_regression.yaml", TESTS / "positives.yaml"
    step(1, "A server starts: keys, database, log, local Ray, and five people with tokens.")
    say(f"   ready after {demo.start():.1f} s")
    step(
        2,
        "The operator registers two real tables and gives them their data.",
        "Each row is checked against its declaration; blocks are encrypted before they reach the disk.",
    )
    ingest(demo)
    demo.run("olga", "assets", "report", "traffic/flights")
    step(3, "A researcher develops on mock data: same job file, same container, no real row, no price.")
    demo.run("rob", "run", delays, "--mock")
    step(4, "The researcher asks what the real thing would cost; no data is opened for the answer.")
    demo.run("rob", "plan", delays)
    step(5, "Two refusals, each with its way out: a query that would show one aircraft, and a job no policy covers.")
    revealing = demo.folder / "revealing.yaml"
    revealing.write_text(delays.read_text().replace("AVG(dep_delay) AS mean_delay", "MAX(dep_delay) AS latest"))
    demo.run("rob", "submit", revealing, refused=True)
    demo.run("rob", "submit", delays, refused=True)
    step(
        6,
        "The operator proposes three policies. Nobody approves their own;",
        "the medical table is of level S2, so two other people must approve.",
    )
    approve(demo)
    step(7, "The plan now says what would be left. Both jobs are submitted; every cell comes with its interval.")
    demo.run("rob", "plan", delays)
    demo.run("rob", "submit", delays, "--wait")
    first = demo.job_of("rob")
    demo.run("rob", "submit", positives, "--wait")
    step(
        8,
        "Any Python program, on the same table: it runs on disjoint blocks of aircraft, each in a process that sees one block,",
        "and only the noisy mean of their answers leaves. First on mock data, with all that it prints; then for real.",
    )
    demo.run("rob", "run", regression, "--mock")
    demo.run("rob", "plan", regression)
    demo.run("rob", "submit", regression, "--wait")
    step(
        9,
        "Three hospitals hand over no row: each encrypts bounded totals at home. The server adds ciphertexts; a key holder decrypts",
        "the noised sum only, and adds noise of its own.",
    )
    encrypted.shown()
    step(10, "What is left; and the first job again: the earlier release, free for the population.")
    demo.run("rob", "budget")
    demo.run("rob", "submit", delays, "--wait")
    demo.run("rob", "budget")
    step(11, "The auditor reads the log; then the server is stopped, and the receipt is checked without it.")
    receipt, result = demo.folder / "receipt.json", demo.folder / "delays.json"
    demo.run("rob", "receipt", first, "-o", receipt)
    demo.run("rob", "result", first, "-o", result)
    demo.run("ada", "audit", "tail")
    demo.stop()
    say("\n   The server is stopped.")
    demo.run("rob", "verify", receipt, "--result", result)
    say(f"\nDone in {time.monotonic() - begun:.0f} s; nothing is left running.")


def serve(demo: Demo) -> None:
    """Set up as the demo does, say how to use it, and stay until Ctrl-C or SIGTERM."""
    say("Setting up a server with both tables and approved policies ...")
    demo.start()
    ingest(demo)
    approve(demo)
    say(f"\nThe server answers on {demo.environment['BANYAN_SERVER']}. To use it as a person of the demo:")
    say(f"  export BANYAN_SERVER={demo.environment['BANYAN_SERVER']} PATH={BIN}:$PATH")
    for name, (role, _) in PEOPLE.items():
        say(f"  export BANYAN_TOKEN={demo.tokens[name]}   # {name}, {role}")
    say("  banyan plan examples/traffic/delays.yaml\nCtrl-C ends it.")
    signal.signal(signal.SIGTERM, lambda *_: demo.stop())
    try:
        if demo.server is not None:
            demo.server.wait()
    except KeyboardInterrupt:
        say("\nstopping")


if __name__ == "__main__":
    main_of(serve if "--serve" in sys.argv[1:] else tell)

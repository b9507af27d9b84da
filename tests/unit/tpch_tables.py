"""A few hundred rows in the shape of TPC-H, drawn so that every query of it finds some."""

from __future__ import annotations

import random
from datetime import date, timedelta
from decimal import Decimal

from privacy.schema import ColumnType
from tests.unit.tpch_catalogue import INSTRUCTIONS, MODES, PRIORITIES, SEGMENTS, TPCH

REGIONS = ("AFRICA", "AMERICA", "ASIA", "EUROPE", "MIDDLE EAST")
NATIONS = (("BRAZIL", 1), ("CANADA", 1), ("CHINA", 2), ("INDIA", 2), ("FRANCE", 3), ("GERMANY", 3), ("SAUDI ARABIA", 4))
TYPES = ("ECONOMY ANODIZED STEEL", "PROMO BRUSHED TIN", "STANDARD PLATED BRASS")
BOXES = (("Brand#12", "SM CASE"), ("Brand#23", "MED BAG"), ("Brand#34", "LG BOX"), ("Brand#45", "LG BOX"))
CUSTOMERS, SUPPLIERS, PARTS, ORDERS = 8, 6, 10, 60


def tpch_tables(seed: int) -> dict[str, list[dict]]:
    """Rows by asset, public units as whole numbers and protected ones as texts, as they are stored."""
    pick = random.Random(seed)

    def money(low, high):
        return Decimal(pick.randint(low, high)) / 100

    suppliers = [{"s_suppkey": at, "s_name": f"Supplier {at}", "s_nationkey": 6 - at} for at in range(SUPPLIERS)]
    parts = [
        {
            "p_partkey": at,
            "p_name": pick.choice(("forest green", "navy", "green tea")),
            "p_type": TYPES[at % 3],
            "p_size": 1 + at % 6,
        }
        | dict(zip(("p_brand", "p_container"), pick.choice(BOXES), strict=True))
        for at in range(PARTS)
    ]
    offers = [
        {"ps_partkey": part, "ps_suppkey": supplier, "ps_availqty": 5, "ps_supplycost": money(100, 9_999)}
        for part in range(PARTS)
        for supplier in pick.sample(range(SUPPLIERS), 3)
    ]
    customers = [
        {
            "c_custkey": str(at),
            "c_nationkey": at % len(NATIONS),
            "c_acctbal": money(-500, 999),
            "c_mktsegment": SEGMENTS[0],
        }
        for at in range(CUSTOMERS)
    ]
    orders = [
        {
            "o_orderkey": at,
            "o_custkey": str(pick.randrange(CUSTOMERS - 1)),
            "o_orderstatus": pick.choice("FFOP"),
            "o_totalprice": money(0, 10**6),
            "o_orderdate": date(1993, 7, 1) + timedelta(pick.randrange(900)),
            "o_orderpriority": pick.choice(PRIORITIES),
            "o_shippriority": 0,
            "o_comment": pick.choice(("special deposits requests", "quick", "unusual special requests sleep")),
        }
        for at in range(ORDERS)
    ]
    lines = []
    for order in orders:
        for number in range(1, pick.randint(2, 8)):
            offer = pick.choice(offers)
            shipped = order["o_orderdate"] + timedelta(pick.randint(1, 60))
            lines.append(
                {
                    "l_orderkey": order["o_orderkey"],
                    "l_partkey": offer["ps_partkey"],
                    "l_suppkey": offer["ps_suppkey"],
                    "l_linenumber": number,
                    "l_quantity": Decimal(pick.randint(1, 50)),
                    "l_extendedprice": money(100_000, 5_000_000),
                    "l_discount": money(0, 10),
                    "l_tax": money(0, 8),
                    "l_returnflag": pick.choice("ANR"),
                    "l_linestatus": pick.choice("FO"),
                    "l_shipdate": shipped,
                    "l_commitdate": order["o_orderdate"] + timedelta(pick.randint(20, 60)),
                    "l_receiptdate": shipped + timedelta(pick.randint(1, 30)),
                    "l_shipinstruct": pick.choice(INSTRUCTIONS[:2]),
                    "l_shipmode": pick.choice(MODES),
                    "l_custkey": order["o_custkey"],
                }
            )
    nations = [{"n_nationkey": at, "n_name": name, "n_regionkey": region} for at, (name, region) in enumerate(NATIONS)]
    regions = [{"r_regionkey": at, "r_name": name} for at, name in enumerate(REGIONS)]
    named = {"customer": customers, "orders": orders, "lineitem": lines, "part": parts, "supplier": suppliers}
    named |= {"partsupp": offers, "nation": nations, "region": regions}
    return {table.asset: [_whole(row, table) for row in named[table.schema.name]] for table in TPCH.tables}


def _whole(row, table):
    """The row with the columns that no query looks at."""
    nothing = {ColumnType.DECIMAL: Decimal(0)}
    return {column.name: row.get(column.name, nothing.get(column.type, "")) for column in table.schema.columns}

"""TPC-H as it is declared here, by hand: customers are protected; part, supplier, partsupp, nation and region are public."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

from privacy.schema import Column, ColumnType, Reference, TableSchema
from privacy.sql.names_in_scope import Catalogue, Table

INT, DECIMAL, STRING, CATEGORY, DATE = (
    ColumnType.INT,
    ColumnType.DECIMAL,
    ColumnType.STRING,
    ColumnType.CATEGORY,
    ColumnType.DATE,
)
SEGMENTS = ("AUTOMOBILE", "BUILDING", "FURNITURE", "HOUSEHOLD", "MACHINERY")
PRIORITIES = ("1-URGENT", "2-HIGH", "3-MEDIUM", "4-NOT SPECIFIED", "5-LOW")
INSTRUCTIONS = ("COLLECT COD", "DELIVER IN PERSON", "NONE", "TAKE BACK RETURN")
MODES = ("AIR", "FOB", "MAIL", "RAIL", "REG AIR", "SHIP", "TRUCK")


def key(name: str) -> Column:
    return Column(name, INT, lower=0, upper=10**7)


def words(name: str, most: int = 60) -> Column:
    return Column(name, STRING, max_length=most)


def category(name: str, *values: str) -> Column:
    return Column(name, CATEGORY, public=True, values=values)


def money(name: str, low: str, high: str) -> Column:
    return Column(name, DECIMAL, scale=2, lower=Decimal(low), upper=Decimal(high))


def day(name: str) -> Column:
    return Column(name, DATE, lower=date(1992, 1, 1), upper=date(1998, 12, 31))


CUSTOMER = TableSchema(
    "customer",
    "c_custkey",
    (
        words("c_custkey", 12),
        words("c_name"),
        words("c_address"),
        key("c_nationkey"),
        words("c_phone", 15),
        money("c_acctbal", "-999.99", "9999.99"),
        category("c_mktsegment", *SEGMENTS),
        words("c_comment", 117),
    ),
    rows=150_000,
    units=150_000,
    rows_per_unit=1,
    unit_type=INT,
)
ORDERS = TableSchema(
    "orders",
    "o_custkey",
    (
        key("o_orderkey"),
        words("o_custkey", 12),
        category("o_orderstatus", "F", "O", "P"),
        money("o_totalprice", "0", "600000"),
        day("o_orderdate"),
        category("o_orderpriority", *PRIORITIES),
        words("o_clerk"),
        Column("o_shippriority", INT, lower=0, upper=1),
        words("o_comment", 79),
    ),
    rows=1_500_000,
    units=150_000,
    keys=(("o_orderkey",),),
    unit_type=INT,
)
LINEITEM = TableSchema(
    "lineitem",
    "l_custkey",
    (
        key("l_orderkey"),
        key("l_partkey"),
        key("l_suppkey"),
        Column("l_linenumber", INT, lower=1, upper=7),
        money("l_quantity", "1", "50"),
        money("l_extendedprice", "0", "120000"),
        money("l_discount", "0", "0.10"),
        money("l_tax", "0", "0.08"),
        category("l_returnflag", "A", "N", "R"),
        category("l_linestatus", "F", "O"),
        day("l_shipdate"),
        day("l_commitdate"),
        day("l_receiptdate"),
        category("l_shipinstruct", *INSTRUCTIONS),
        category("l_shipmode", *MODES),
        words("l_comment", 44),
        words("l_custkey", 12),
    ),
    rows=6_000_000,
    units=150_000,
    keys=(("l_orderkey", "l_linenumber"),),
    references=(Reference(("l_orderkey",), "finance/orders", ("o_orderkey",)),),
    unit_type=INT,
)
PART = TableSchema(
    "part",
    "p_partkey",
    (
        words("p_partkey", 12),
        words("p_name", 55),
        words("p_mfgr"),
        words("p_brand", 10),
        words("p_type", 25),
        Column("p_size", INT, lower=1, upper=50),
        words("p_container", 10),
        money("p_retailprice", "0", "3000"),
        words("p_comment", 23),
    ),
    rows=200_000,
    units=200_000,
    rows_per_unit=1,
    unit_type=INT,
)
SUPPLIER = TableSchema(
    "supplier",
    "s_suppkey",
    (
        words("s_suppkey", 12),
        words("s_name", 25),
        words("s_address"),
        key("s_nationkey"),
        words("s_phone", 15),
        money("s_acctbal", "-999.99", "9999.99"),
        words("s_comment", 101),
    ),
    rows=10_000,
    units=10_000,
    rows_per_unit=1,
    unit_type=INT,
)
PARTSUPP = TableSchema(
    "partsupp",
    "ps_partkey",
    (
        words("ps_partkey", 12),
        key("ps_suppkey"),
        Column("ps_availqty", INT, lower=0, upper=9_999),
        money("ps_supplycost", "0", "1000"),
        words("ps_comment", 199),
    ),
    rows=800_000,
    units=200_000,
    keys=(("ps_partkey", "ps_suppkey"),),
    unit_type=INT,
)
NATION = TableSchema(
    "nation",
    "n_nationkey",
    (words("n_nationkey", 12), words("n_name", 25), key("n_regionkey"), words("n_comment", 152)),
    rows=25,
    units=25,
    rows_per_unit=1,
    unit_type=INT,
)
REGION = TableSchema(
    "region",
    "r_regionkey",
    (words("r_regionkey", 12), words("r_name", 25), words("r_comment", 152)),
    rows=5,
    units=5,
    rows_per_unit=1,
    unit_type=INT,
)
PRIVATE = (CUSTOMER, ORDERS, LINEITEM)
PUBLIC = (PART, SUPPLIER, PARTSUPP, NATION, REGION)
TPCH = Catalogue(
    tuple(Table(f"finance/{schema.name}", schema, private=True) for schema in PRIVATE)
    + tuple(Table(f"finance/{schema.name}", schema, private=False) for schema in PUBLIC)
)

"""The verifier's tree arithmetic against published vectors and a tree computed by the definition."""

from __future__ import annotations

import contextlib

import pytest
from banyan.verify import root_from
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.receipts_by_hand import path, sha, tree_hash

LEAVES = [
    bytes.fromhex(leaf)
    for leaf in ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
]
ROOTS = [  # standards.md 6.1, for 1 to 8 leaves
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]


@pytest.mark.parametrize("size", range(1, 9))
def test_every_leaf_of_the_published_trees_leads_to_the_published_root(size: int) -> None:
    leaves = LEAVES[:size]
    for index, leaf in enumerate(leaves):
        assert root_from(sha(b"\x00", leaf), index, size, path(index, leaves)).hex() == ROOTS[size - 1]


@given(st.data(), st.integers(1, 70))
def test_an_honest_path_leads_to_the_root_and_no_other_place_does(data: st.DataObject, size: int) -> None:
    leaves = [bytes([number]) for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    leaf, proof, root = sha(b"\x00", leaves[index]), path(index, leaves), tree_hash(leaves)
    assert root_from(leaf, index, size, proof) == root
    other = data.draw(st.integers(0, size - 1))
    if other != index:
        with contextlib.suppress(ValueError):  # the path has the wrong length for that place
            assert root_from(leaf, other, size, proof) != root


@given(st.data(), st.integers(2, 70))
def test_a_path_with_a_node_more_or_less_or_changed_never_leads_to_the_root(data: st.DataObject, size: int) -> None:
    leaves = [bytes([number]) for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    leaf, proof, root = sha(b"\x00", leaves[index]), path(index, leaves), tree_hash(leaves)
    at = data.draw(st.integers(0, len(proof) - 1))
    changed = [*proof[:at], sha(proof[at]), *proof[at + 1 :]]
    for forged in (proof[:-1], [*proof, root], [*proof[:at], proof[at], *proof[at:]], changed, []):
        with contextlib.suppress(ValueError):
            assert root_from(leaf, index, size, forged) != root


@pytest.mark.parametrize(("index", "size"), [(0, 0), (1, 1), (-1, 4), (4, 4)])
def test_an_index_outside_the_log_is_refused(index: int, size: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        root_from(b"\x00" * 32, index, size, [])

"""RFC 9162 hashes and proofs, against the vectors of the certificate-transparency reference tree and against each other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit import merkle

LEAVES = ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"]
ROOTS = """e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d
fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125
aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77
d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7
4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4
76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef
ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c
5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328""".split()


def tree_of(leaves):
    nodes = {}

    def node(level, index):
        return nodes[level, index]

    for index, leaf in enumerate(leaves):
        for level, at, found in merkle.completed_by(index, merkle.leaf_hash(leaf), node):
            nodes[level, at] = found
    return node


def root_from_path(index, size, leaf, path):
    """RFC 9162 §2.1.3.2, written apart from the code under test."""
    first, last, found = index, size - 1, leaf
    for part in path:
        if first % 2 == 1 or first == last:
            found = merkle.node_hash(part, found)
            while first % 2 == 0 and first != 0:
                first, last = first >> 1, last >> 1
        else:
            found = merkle.node_hash(found, part)
        first, last = first >> 1, last >> 1
    assert last == 0
    return found


@pytest.mark.parametrize("size", range(9))
def test_roots_are_those_of_the_reference_tree(size):
    node = tree_of([bytes.fromhex(leaf) for leaf in LEAVES[:size]])
    assert merkle.root(size, node).hex() == ROOTS[size]


@given(st.integers(1, 70), st.data())
def test_every_entry_has_an_inclusion_proof_and_no_other_leaf_fits_it(size, data):
    index = data.draw(st.integers(0, size - 1))
    leaves = [bytes([number]) for number in range(size)]
    node = tree_of(leaves)
    path = merkle.inclusion_proof(index, size, node)
    assert root_from_path(index, size, merkle.leaf_hash(leaves[index]), path) == merkle.root(size, node)
    assert root_from_path(index, size, merkle.leaf_hash(b"other"), path) != merkle.root(size, node)


@given(st.integers(1, 70), st.data())
def test_an_older_tree_is_consistent_with_a_newer_one_and_a_forked_one_is_not(new, data):
    old = data.draw(st.integers(1, new))
    leaves = [bytes([number]) for number in range(new)]
    node, forked = tree_of(leaves), tree_of([b"fork", *leaves[1:]])
    proof = merkle.consistency_proof(old, new, node)
    assert merkle.is_consistent(old, merkle.root(old, node), new, merkle.root(new, node), proof)
    forged = merkle.consistency_proof(old, new, forked)
    assert not merkle.is_consistent(old, merkle.root(old, node), new, merkle.root(new, forked), forged)
    assert not merkle.is_consistent(new, merkle.root(new, node), old, merkle.root(old, node), proof) or old == new


def test_a_proof_outside_the_tree_is_refused():
    node = tree_of([b"a", b"b"])
    with pytest.raises(ValueError):
        merkle.inclusion_proof(2, 2, node)
    with pytest.raises(ValueError):
        merkle.consistency_proof(0, 2, node)

"""Architectures in the forms that learning and graph libraries read, and back.

>>> from graphnas.encoding import encode_dense, decode_dense
>>> batch = encode_dense(space, architectures)  # kinds [B, N], table [T, K], adjacency [B, N, N], mask [B, N]
>>> decode_dense(batch, space)  # the canonical forms
"""

from graphnas.encoding.dense import DenseBatch, DenseTensors, decode_dense, encode_dense
from graphnas.encoding.dgl import from_dgl, to_dgl
from graphnas.encoding.flat import adjacency_encoding, one_hot
from graphnas.encoding.forms import canonical_forms
from graphnas.encoding.networkx import from_networkx, to_networkx
from graphnas.encoding.paths import known_paths, op_paths, path_encoding
from graphnas.encoding.pyg import from_pyg, to_pyg
from graphnas.encoding.vocabulary import Vocabulary, vocabulary_of

__all__ = [
    "DenseBatch",
    "DenseTensors",
    "Vocabulary",
    "adjacency_encoding",
    "canonical_forms",
    "decode_dense",
    "encode_dense",
    "from_dgl",
    "from_networkx",
    "from_pyg",
    "known_paths",
    "one_hot",
    "op_paths",
    "path_encoding",
    "to_dgl",
    "to_networkx",
    "to_pyg",
    "vocabulary_of",
]

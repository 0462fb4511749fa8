import pytest

from graphnas.architecture import Architecture, Node, node
from graphnas.canonical import Semantics
from graphnas.encoding import Vocabulary, vocabulary_of
from graphnas.errors import GraphnasError
from graphnas.space import Choice, Space
from spaces import nasbench101, nasbench201, nasbench_graph

OPS = {"nasbench101": nasbench101.OPS, "nasbench201": nasbench201.OPS, "nasbench_graph": nasbench_graph.OPS}


@pytest.mark.parametrize("module", [nasbench101, nasbench201, nasbench_graph])
def test_tokens_are_the_four_fixed_ops_and_the_space_s_own(module):
    space = module.space()
    expected = [("op", op) for op in ("input", "output", "sum", "concat", *OPS[space.name])]
    assert sorted(Vocabulary(space).tokens) == sorted(expected)
    assert Vocabulary(space).tokens[:4] == tuple(expected[:4])
    assert Vocabulary(space).tokens == vocabulary_of(space).tokens


def _with_params() -> Space:
    heads, kind = Choice("heads", (1, 2, 8), "heads"), Choice("attention", ("gat", "gcn"), "attention")
    return Space(
        "layers",
        [node("input"), node("layer", [0], heads=heads, attention=kind, width=16), node("output", [1])],
    )


def test_params_are_tokens_and_features_are_their_multi_hot():
    space = _with_params()
    vocabulary = Vocabulary(space)
    assert vocabulary.tokens == (
        *[("op", op) for op in ("input", "output", "sum", "concat", "layer")],
        ("attention", "gat"),
        ("attention", "gcn"),
        *[("heads", n) for n in (1, 2, 8)],
        ("width", 16),
    )
    for architecture in space.enumerate():
        for n in architecture:
            (feature,) = vocabulary.table([(n.op, n.params)])
            carried = {token for token, x in zip(vocabulary.tokens, feature, strict=True) if x == 1}
            assert carried == {("op", n.op), *n.params}
            assert feature.sum() == len(carried)
            assert vocabulary.kind(feature) == (n.op, n.params)


def test_unknown_tokens_are_named():
    vocabulary = Vocabulary(_with_params())
    with pytest.raises(GraphnasError, match="no op 'lstm'"):
        vocabulary.columns("lstm")
    with pytest.raises(GraphnasError, match="no heads 4"):
        vocabulary.check(Architecture([node("input"), node("layer", [0], heads=4), node("output", [1])]))


def test_a_feature_without_an_op_or_with_two_values_is_refused():
    vocabulary = Vocabulary(_with_params())
    feature = vocabulary.table([("layer", (("heads", 1),))])[0]
    feature[vocabulary.tokens.index(("heads", 2))] = 1
    with pytest.raises(GraphnasError, match="one value for each parameter"):
        vocabulary.kind(feature)
    with pytest.raises(GraphnasError, match="needs one op"):
        vocabulary.kind(0 * feature)


def test_places_are_tokens_only_of_spaces_with_ordered_ops():
    template = [node("input"), node("a", [0]), Node("attention", (0, 1, 1)), node("output", [2])]
    plain = Vocabulary(Space("plain", template))
    ordered = Vocabulary(Space("ordered", template, semantics=Semantics(ordered_ops=frozenset({"attention"}))))
    assert not any("#place" in token for token in plain.tokens)
    assert [token for token in ordered.tokens if token[0] == "#place"] == [("#place", i) for i in range(3)]


def test_a_parameter_called_op_is_refused():
    with pytest.raises(GraphnasError, match="parameter called 'op'"):
        Vocabulary(Space("bad", [node("input"), Node("x", (0,), (("op", 1),)), node("output", [1])]))

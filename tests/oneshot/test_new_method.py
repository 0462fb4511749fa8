"""A method is one short file: SignDARTS, which follows the sign of the first-order gradient, is this one."""

from dataclasses import dataclass, replace

from graphnas.oneshot.context import Context
from graphnas.oneshot.discretisers import TopKInputs
from graphnas.oneshot.known_answer import KnownAnswer
from graphnas.oneshot.method import Method
from graphnas.oneshot.methods.darts import darts1
from graphnas.oneshot.optimisers import SGD
from graphnas.oneshot.outer import FirstOrder, Update
from graphnas.oneshot.schedules import Constant, Cosine
from graphnas.oneshot.search import search


@dataclass(frozen=True)
class Sign(FirstOrder):
    """The sign of what each mixing weight would change, instead of how much."""

    def __call__(self, context: Context) -> Update:
        batch, mix = context.outer_batch(), context.mix()
        asked = mix.cut()
        loss = context.outer_loss(context.state, asked, batch)
        signs = [g.sign() for g in context.gradient(loss, list(asked.weights.values()))]
        return Update(mix, sum((m * s).sum() for m, s in zip(mix.weights.values(), signs, strict=True)))


sign_darts: Method = replace(
    darts1, name="sign_darts", outer=Sign(), architecture=SGD(Constant(0.1)), discretiser=TopKInputs(), epochs=40
)


def test_the_new_method_solves_the_known_answer() -> None:
    problem = KnownAnswer(0)
    method = replace(sign_darts, inner=SGD(Cosine(0.02, 0.002), momentum=0.9))
    assert problem.right(search(problem, method, problem.streams(32)).derived) >= 4

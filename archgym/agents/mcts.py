"""Monte Carlo tree search over designs that are decided one parameter after another (UCT: Kocsis &
Szepesvári, 2006, "Bandit based Monte-Carlo planning"; for architectures: Negrinho & Gordon, 2017,
"DeepArchitect: automatically designing and training deep architectures").

A node is a partial design: parameters up to p - 1 are decided, and p is one of the values low..high - 1. A
categorical parameter branches by value; an ordered one in two halves, until one value is left (`bisect`). A
sample walks from the root to a child

    without visits, at random, while fewer than  n^widening  children have designs left
    else to        argmax_i  (m_i - min) / (max - min) + c sqrt(2 ln n / n_i)

where n counts the node's visits, n_i those of child i, m_i is the mean of its rewards, min and max are the
extremes of all rewards of feasible designs; an infeasible design counts as min. The walk ends at its
first new node, from where the rest of the design is drawn at random: each parameter uniform over its values,
inactive parameters skipped. Designs still out count as visits (virtual visits), but have no part in m_i.

- A node that was visited once keeps its design; at the second visit it hands it down to the child that it
  belongs to. So the tree has at most two nodes more after each sample, every design asked is in it, and an
  exhausted subtree is left out: no design is proposed twice while others are left.
- A design of the same meaning as an earlier one (`canonical`) gets that one's reward without a sample, and
  the walk starts again, up to 64 times.

DeepArchitect's code has c = 1, .33 in an example, and no bisection. With rewards in [0, 1], c = 1 is random
search in effect: a branch whose mean is .2 behind gets about 2 ln n (c / .2)^2 visits, 345 of the first 1,000
at c = 1 and 3 at c = .1.

Good for: spaces whose first parameters decide most, as the textbook's tree search; ahead of random search
where good branches are good on average, behind evolution and `tpe`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from archgym.agent import AskTellAgent
from archgym.agents._designs import MAX_REDRAWS
from archgym.space import Array, Categorical, DesignSpace, Indices, Real

DRAWS = 64  # random designs drawn at once


class _Node:
    """A partial design, whose parameter p is one of the values low..high - 1.

    Attributes:
        children: branch, as its first value -> child.
        left: branches with designs that were not proposed.
        visits, told, feasible: designs proposed below, those of known reward, those of them feasible.
        total: sum of the rewards of feasible designs.
        design, trial: the only design below, where it was not handed down.
    """

    __slots__ = (
        "children",
        "design",
        "feasible",
        "high",
        "left",
        "low",
        "p",
        "told",
        "total",
        "trial",
        "visits",
    )

    def __init__(self, p: int, low: int, high: int):
        self.p, self.low, self.high, self.left = p, low, high, 0
        self.children: dict[int, _Node] = {}
        self.visits = self.told = self.feasible = 0
        self.total = 0.0
        self.design: Indices | None = None
        self.trial: _Trial | None = None

    def take(self, reward: float | None) -> None:
        """Count a reward; None is that of an infeasible design."""
        self.told += 1
        if reward is not None:
            self.feasible += 1
            self.total += reward

    def mean(self, worst: float, spread: float, unknown: float) -> float:
        """Mean reward, scaled to [0, 1]; `unknown` where there is none yet."""
        if not self.feasible:
            return 0.0 if self.told else unknown
        return (self.total - self.feasible * worst) / (self.told * spread)


class _Trial:
    """Designs of one meaning: the nodes that wait for the reward, or the reward."""

    def __init__(self) -> None:
        self.nodes: list[_Node] = []
        self.ended = False
        self.reward: float | None = None

    def visit(self, path: list[_Node]) -> None:
        """Count a visit of nodes from the root on, with the reward now or later."""
        for node in path:
            node.visits += 1
            if self.ended:
                node.take(self.reward)
        if not self.ended:
            self.nodes += path

    def end(self, reward: float | None) -> None:
        """Hand the reward to all nodes; later ones change nothing."""
        if not self.ended:
            self.ended, self.reward = True, reward
            for node in self.nodes:
                node.take(reward)
            self.nodes = []


class MonteCarloTreeSearch(AskTellAgent):
    """UCT with bisection of ordered parameters and progressive widening.

    Args:
        c: weight of exploration, for rewards scaled to [0, 1].
        bisect: whether ordered parameters branch in halves; else by value.
        widening: exponent of the number of children by visits; 1 tries every branch before any twice. Halves
            are never held back.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "mcts", budget=200)  # doctest: +SKIP
    """

    version = 1
    hyperparameters = DesignSpace(
        [
            Real("c", 0.02, 1.0, log=True, default=0.1),
            Categorical("bisect", [True, False]),
            Real("widening", 0.2, 1.0, default=0.5),
        ]
    )

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        self.space, self.rng = space, rng
        self.nvec = space.nvec.tolist()
        self.halved = [self.bisect and parameter.ordered for parameter in space]
        self.worst, self.best = np.inf, -np.inf  # rewards of feasible designs
        self.drawn: list[Indices] = []
        self._plant()

    def _plant(self) -> None:
        self.root = self._node(np.zeros(len(self.space), np.int64), 0)
        self.trials: dict[bytes, _Trial] = {}  # by meaning

    def ask(self, n: int) -> Indices:
        if not self.root.left:  # all designs proposed: start over
            self._plant()
        designs: list[Indices] = []
        while len(designs) < n and (self.root.left or not designs):
            for _ in range(MAX_REDRAWS):
                design, is_new = self._add()
                if is_new or not self.root.left:
                    break
            designs.append(design)
        return np.array(designs)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        if feasible.any():
            self.worst = min(self.worst, float(rewards[feasible].min()))
            self.best = max(self.best, float(rewards[feasible].max()))
        keys = [meaning.tobytes() for meaning in self.canonical(indices)]
        for design, key, reward, known in zip(indices, keys, rewards.tolist(), feasible, strict=True):
            if key not in self.trials:  # not asked for
                self._add(design)
            self.trials[key].end(reward if known else None)

    def _add(self, design: Indices | None = None) -> tuple[Indices, bool]:
        """Walk to a new node, or to that of a given design: the design, and whether its meaning is new."""
        node, path = self.root, [self.root]
        row = np.zeros(len(self.space), np.int64)
        while node.visits:
            if node.design is not None:
                self._hand_down(node)
            key = self._choose(node) if design is None else self._branch(node, design)
            if key not in node.children:
                node.children[key] = self._child(node, key, row)
            if node.children[key].p > node.p:
                row[node.p] = key
            node = node.children[key]
            path.append(node)
        node.design = self._finish(node, row) if design is None else design.copy()
        key = self.canonical(node.design[None])[0].tobytes()
        is_new = key not in self.trials
        node.trial = self.trials.setdefault(key, _Trial())
        node.trial.visit(path)
        for parent in reversed(path[:-1]) if not node.left else ():
            parent.left -= 1
            if parent.left:
                break
        return node.design, is_new

    def _choose(self, node: _Node) -> int:
        """The branch to walk into."""
        width = len(self._edges(node))
        untried = width - len(node.children)
        if untried and node.left - untried < (node.visits + 1) ** self.widening:
            while (key := self._edges(node)[int(self.rng.random() * width)]) in node.children:
                pass
            return key
        spread = (self.best - self.worst) or 1.0
        mean, log = node.mean(self.worst, spread, 0.0), 2 * math.log(node.visits)
        scores = {
            key: child.mean(self.worst, spread, mean) + self.c * math.sqrt(log / child.visits)
            for key, child in node.children.items()
            if child.left
        }
        return max(scores, key=scores.__getitem__)

    def _edges(self, node: _Node) -> range:
        """The first values of a node's branches."""
        step = (node.high - node.low + 1) // 2 if self.halved[node.p] else 1
        return range(node.low, node.high, step)

    def _branch(self, node: _Node, design: Indices) -> int:
        """The branch that a design belongs to."""
        edges = self._edges(node)
        return edges[(int(design[node.p]) - node.low) // edges.step]

    def _child(self, node: _Node, key: int, row: Indices) -> _Node:
        """A new child, below a partial design."""
        high = min(key + self._edges(node).step, node.high)
        if high - key > 1:
            return self._open(_Node(node.p, key, high))
        row[node.p] = key
        return self._node(row, node.p + 1)

    def _node(self, row: Indices, p: int) -> _Node:
        """The node of the next active parameter, from p on, that leaves a choice."""
        active = self.space.active(row[None])[0]
        while p < len(self.nvec) and (self.nvec[p] == 1 or not active[p]):
            p += 1
        return self._open(_Node(p, 0, self.nvec[p])) if p < len(self.nvec) else _Node(p, 0, 0)

    def _open(self, node: _Node) -> _Node:
        node.left = len(self._edges(node))
        return node

    def _hand_down(self, node: _Node) -> None:
        """Pass the design that a node keeps, with its visits, to the child it belongs to."""
        assert node.design is not None and node.trial is not None
        key = self._branch(node, node.design)
        child = node.children[key] = self._child(node, key, node.design.copy())
        child.visits, child.told, child.feasible, child.total = (
            node.visits,
            node.told,
            node.feasible,
            node.total,
        )
        child.design, child.trial = node.design, node.trial
        if not child.trial.ended:
            child.trial.nodes.append(child)
        node.left -= not child.left
        node.design = node.trial = None

    def _finish(self, node: _Node, row: Indices) -> Indices:
        """A partial design with its rest drawn at random."""
        if not self.drawn:
            self.drawn = list(self.space.sample(DRAWS, self.rng, per="parameter"))
        p = node.p
        row[p:] = self.drawn.pop()[p:]
        if p < len(row):
            row[p] = node.low + int(self.rng.random() * (node.high - node.low))
        return self.space.canonical(row[None])[0]

"""A recurrent controller that writes a design one parameter after another (Pham et al., "ENAS", 2018),
trained by REINFORCE (Williams, 1992), with an optional memory of past designs (Adam & Lorraine, 2019).

    h_p, c_p  = LSTM(e_{p-1}(x_{p-1}), (h_{p-1}, c_{p-1}))        e_p, W_p: a vector for each value, the sum
    pi_p      = softmax(2.5 tanh(W_p h_p))                        of its own one and one that all parameters
                                                                  with the same values share
    loss      = -mean[A sum_p log pi_p(x_p)] - entropy mean[sum_p H(pi_p)]
    A         = (r - b) / sigma, within +-5                       b: running mean of the rewards, sigma: their
                                                                  spread in the batch
    memory:     (h_0, c_0) is the state of a second LSTM that has read one of the last `memory` designs y
    loss      + mean_p -log softmax(S_p h_0)(y_p)                 y is spelled again by a linear map S; also
                                                                  minimised alone, in `replay` more steps

Where the papers share every vector: all of their parameters are operations. On NK landscapes, whose equal
values mean different things, shared vectors alone converge too early; on cells own ones alone learn slowly.

The memory keeps distances between the designs read, but the designs written from a state are independent of
the one read, and the search gains no more than from another random first state: `examples/hidden_states.py`.

Good for: hundreds of samples of spaces whose parameters are alike, as the operations of cells.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import VectorEnv

from archgym.agent import AskTellAgent
from archgym.agents._designs import Generation, check_listable
from archgym.agents._torch import alone_with_torch
from archgym.errors import MissingDependency
from archgym.space import Array, DesignSpace, Indices, Integer, Ordinal, Real

if TYPE_CHECKING:
    from torch import Tensor

    State = tuple[Tensor, Tensor]  # h and c of an LSTM, [B, hidden] each

MAX_VALUES = 100_000  # of all parameters: each has vectors of its own
LARGEST_LOGIT = 2.5
NEVER = -1e9  # logit of the values of an inactive parameter, but for the one at which it stands
INITIAL = 0.1  # weights start uniform within +-INITIAL
BASELINE = 0.9  # share of the old baseline kept per update
LARGEST_ADVANTAGE = 5.0
LARGEST_GRADIENT = 5.0  # norm to which the gradient is cut
REPLAYED = 32  # designs per replay step


class Controller(AskTellAgent):
    """An LSTM that chooses each parameter given the earlier ones; needs `archgym[gp]` (PyTorch).

    Args:
        hidden: width of the LSTM.
        batch: designs per update (the environment's width).
        rate: learning rate.
        entropy: weight of the entropy in the loss.
        memory: number of past designs from which each design's start is read; 0 starts from zeros.
        replay: steps per update in which the memory's loss alone is lowered; without effect if `memory` is 0.

    Example:
        >>> archgym.search("archgym/NKLandscape-v0", "controller", budget=100)  # doctest: +SKIP

    Raises:
        MissingDependency: PyTorch is not installed (when a search starts).
    """

    version = 1
    num_envs_from = "batch"
    hyperparameters = DesignSpace(
        [
            Ordinal("hidden", [16, 32, 64], default=32),
            Integer("batch", 2, 256, default=10),
            Real("rate", 0.001, 0.03, log=True, default=0.01),
            Real("entropy", 0.0001, 0.1, log=True, default=0.01),
            Ordinal("memory", [0, 100, 300], default=0),
            Integer("replay", 0, 10, default=0),
        ]
    )

    def search(self, env: VectorEnv, *, budget: int, seed: int, start: Indices | None = None) -> None:
        try:
            import torch  # noqa: F401
        except ImportError as error:
            raise MissingDependency(
                'the "controller" agent needs PyTorch: pip install "archgym[gp]"'
            ) from error
        with alone_with_torch():
            super().search(env, budget=budget, seed=seed, start=start)

    def start(self, space: DesignSpace, *, budget: int, rng: np.random.Generator) -> None:
        import torch

        check_listable(self, space, MAX_VALUES)
        self.space = space
        self.rng, self.draws = rng, torch.Generator().manual_seed(int(rng.integers(2**31)))
        self.nvec = space.nvec.tolist()
        self.first = (np.cumsum(space.nvec) - space.nvec).tolist()  # where the values of each parameter begin
        kinds: dict[tuple[Any, ...], Indices] = {}  # type and values of a parameter -> shared vectors
        for p in space:
            begin = sum(map(len, kinds.values()))
            kinds.setdefault((type(p), *p.plain), np.arange(begin, begin + len(p)))
        self.kind = np.concatenate([np.empty(0, int), *(kinds[type(p), *p.plain] for p in space)])
        h, values, shared = self.hidden, len(self.kind), sum(map(len, kinds.values()))

        def weights(*shape: int) -> Tensor:
            drawn = torch.empty(shape).uniform_(-INITIAL, INITIAL, generator=self.draws)
            return drawn.requires_grad_()

        self.opening = weights(h)  # input before the first value
        self.inputs, self.outputs = ((weights(shared, h), weights(values, h)) for _ in range(2))  # e and W
        self.writer, self.reader = (
            [weights(4 * h, h), weights(4 * h, h), weights(4 * h), weights(4 * h)] for _ in range(2)
        )
        self.speller = weights(values, h)  # from h_0 to the design read
        self.weights = [self.opening, *self.inputs, *self.outputs, *self.writer]
        self.weights += [*self.reader, self.speller] if self.memory else []
        self.optimizer = torch.optim.Adam(self.weights, self.rate)
        self.baseline: float | None = None
        self.update = Generation(self.batch)
        self.past = np.empty((0, len(space)), np.int64)
        self.starts: list[Indices] = []  # the designs read for those not told yet

    def ask(self, n: int) -> Indices:
        import torch

        # before the first update there is nothing to read: designs [n, 0]
        read = (
            self.past[self.rng.integers(len(self.past), size=n)] if len(self.past) else np.empty((n, 0), int)
        )
        self.starts.append(read)
        with torch.no_grad():
            return self.write(self.read(read))[0]

    def warm(
        self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array, valid: Array
    ) -> None:
        self.starts = [np.empty((len(indices), 0), np.int64)]  # nothing is read before the first update
        super().warm(indices, rewards, metrics, feasible, valid)

    def tell(self, indices: Indices, rewards: Array, metrics: Mapping[str, Array], feasible: Array) -> None:
        read, self.starts = np.concatenate(self.starts), []
        if (complete := self.update.collect(indices, rewards, feasible, read)) is None:
            return
        designs, rewards, feasible, read = complete
        # infeasible designs get the worst feasible reward, so that they do not dominate the gradient
        if feasible.any():
            self._learn(designs, np.where(feasible, rewards, rewards[feasible].min()), read)
        past = np.concatenate([self.past, designs])
        self.past = past[max(len(past) - self.memory, 0) :]
        for _ in range(self.replay if self.memory else 0):
            replayed = self.past[self.rng.integers(len(self.past), size=REPLAYED)]
            self._step(self.misspelling(self.read(replayed), replayed))

    def _learn(self, designs: Indices, rewards: Array, read: Indices) -> None:
        import torch

        mean, spread = rewards.mean(), rewards.std()
        self.baseline = mean if self.baseline is None else BASELINE * self.baseline + (1 - BASELINE) * mean
        advantage = np.clip(
            (rewards - self.baseline) / (spread or 1.0), -LARGEST_ADVANTAGE, LARGEST_ADVANTAGE
        )
        state = self.read(read)
        _, log_pi, entropy, _ = self.write(state, designs)
        loss = (
            -(torch.as_tensor(advantage, dtype=torch.float32) * log_pi).mean() - self.entropy * entropy.mean()
        )
        self._step(loss + self.misspelling(state, read))

    def _step(self, loss: Tensor) -> None:
        import torch

        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights, LARGEST_GRADIENT)
        self.optimizer.step()

    def _vectors(self, tables: tuple[Tensor, Tensor]) -> Tensor:
        """A vector for every value of every parameter, end to end: [sum(nvec), hidden]."""
        shared, own = tables
        return shared[self.kind] + own

    def read(self, designs: Indices) -> State:
        """State after reading designs, int64 [B, P]; zeros for designs without parameters, [B, 0]."""
        import torch

        h = c = torch.zeros(len(designs), self.hidden)
        vectors = self._vectors(self.inputs)
        for first, values in zip(self.first, torch.as_tensor(designs).T, strict=False):
            h, c = torch.lstm_cell(vectors[first + values], (h, c), *self.reader)
        return h, c

    def write(self, state: State, designs: Indices | None = None) -> tuple[Indices, Tensor, Tensor, State]:
        """Write designs from a state.

        Args:
            state: h_0 and c_0, [B, hidden] each.
            designs: designs to write, int64 [B, P]; None draws them.

        Returns:
            Designs [B, P], log pi of each [B], sum of the entropies [B], state at the end.
        """
        import torch

        h, c = state
        log_pi, entropy = torch.zeros(len(h)), torch.zeros(len(h))
        written = torch.zeros(len(h), len(self.nvec), dtype=torch.int64)
        if designs is not None:
            written[:] = torch.as_tensor(designs)
        inputs, outputs = self._vectors(self.inputs), self._vectors(self.outputs)
        x = self.opening.expand(len(h), -1)
        for p, (first, n) in enumerate(zip(self.first, self.nvec, strict=True)):
            h, c = torch.lstm_cell(x, (h, c), *self.writer)
            logits = LARGEST_LOGIT * torch.tanh(h @ outputs[first : first + n].T)
            if self.space.conditional:
                illegal = torch.as_tensor(~self.space.masks(written.numpy(), p))
                logits = logits.masked_fill(illegal, NEVER)
            log_p = logits.log_softmax(dim=1)
            if designs is None:
                written[:, p] = log_p.exp().multinomial(1, generator=self.draws)[:, 0]
            value = written[:, p]
            log_pi = log_pi + log_p.gather(1, value[:, None])[:, 0]
            entropy = entropy - (log_p.exp() * log_p).sum(dim=1)
            x = inputs[first + value]
        return written.numpy(), log_pi, entropy, (h, c)

    def misspelling(self, state: State, designs: Indices) -> Tensor:
        """Mean cross-entropy of the active values of designs [B, P], spelled from h_0; 0 for designs
        [B, 0].
        """
        loss = state[0].new_zeros(())
        active = self.space.active(designs) if designs.shape[1] else designs
        for p in range(designs.shape[1]):
            first, n = self.first[p], self.nvec[p]
            log_p = (state[0] @ self.speller[first : first + n].T).log_softmax(dim=1)
            spelled = log_p[range(len(designs)), designs[:, p]] * log_p.new_tensor(active[:, p])
            loss = loss - spelled.mean() / designs.shape[1]
        return loss

"""Mirror descent and mirror-prox on mixed strategies, by Langevin chains."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from robustgames.errors import GameError
from robustgames.games.game import join
from robustgames.games.oracle import Oracle
from robustgames.solvers.players import NAMES, Rules, init_rules, move_rules, pair, rewind
from robustgames.solvers.rules import State
from robustgames.solvers.schemes import Scheme, Tally


@dataclass(frozen=True)
class LangevinChains(Scheme):
    """Each player samples its answer to the other's mean by a chain of noisy steps, and moves towards the chain's mean.

    Entropic mirror descent on measures over strategies keeps Gibbs measures, which Langevin dynamics samples; a
    measure is then replaced by a damped mean. In step t, from z_t = (x_t, y_t), for k = 1 … K_t:

        x^(k+1) = rule(x^(k), V_x(x^(k), y_t; ζ_k)),      y^(k+1) = rule(y^(k), V_y(x_t, y^(k); ζ_k)),
        mean ← (1 - b) mean + b (x^(k+1), y^(k+1)),       starting from x^(1) = x_t, y^(1) = y_t, mean = z_t,

    and z_{t+1} = (1 - b) z_t + b mean. With `prox` the chains run twice, both times from z_t: against z_t, then against
    the mean of the first pass; the second mean counts. 2 K_t - 1 calls a step, as the first serves both players, and
    2 K_t more with `prox`. The count of a rule is t in all K_t steps, so its schedules are per step. Moments of a rule
    persist. With `published` it counts the steps of all chains, target networks follow (x^(k+1), y^(k+1)) after each of
    them (`Oracle.follow`) instead of z_{t+1}, and K_t = min(K, floor((1 + growth)^(t-1))).

    With K = 1, b = 1 and no noise this is simultaneous gradient descent ascent, bit for bit, and with `prox` on
    bilinear games extragradient.

    Source: Hsieh, Liu and Cevher 2019, algorithms 3 (Mirror-GAN) and 5 (Mirror-Prox-GAN); Kamalaruban et al. 2020.

    Args:
        rule: Rule of both players, or a pair: Langevin or PreconditionedLangevin.
        inner_steps: Largest number of steps of a chain, K.
        damping: Weight of the newest point in both means, b in (0, 1].
        prox: Whether to run mirror-prox instead of mirror descent.
        growth: Growth of the chains: K_t = min(K, floor((1 + growth)^t)). If 0, K_t = K.
        published: Whether schedules and target networks go by the steps of the chains, as in the code of Kamalaruban et
            al. 2020, instead of by t.
    """

    rule: Rules
    inner_steps: int = 5
    damping: float = 0.9
    prox: bool = False
    growth: float = 0.0
    published: bool = False

    def __post_init__(self) -> None:
        if self.inner_steps < 1:
            raise GameError(f"inner_steps is {self.inner_steps}: a chain takes at least 1 step")
        if not 0 < self.damping <= 1:
            raise GameError(f"damping is {self.damping}: the weight of the newest point lies in (0, 1], e.g. 0.9")
        if self.prox and self.published:
            raise GameError("the published chains are those of mirror descent: leave prox out, or published")
        if not 0 <= self.growth < float("inf"):
            raise GameError(f"growth is {self.growth}: a rate >= 0, e.g. 1e-5, or 0 for chains of constant length")

    def init(self, oracle: Oracle, z: Tensor) -> State:
        return {"t": 0, **init_rules(pair(self.rule), oracle, z)}

    def step(self, oracle: Oracle, z: Tensor, state: State) -> tuple[Tensor, State]:
        t, rules = state["t"] + 1, {name: state[name] for name in NAMES}
        against, before = z, rules
        for _ in range(2 if self.prox else 1):
            against, rules = self._sample(oracle, z, against, rewind(pair(self.rule), rules, before), t)
        return oracle.project(z.lerp(against, self.damping)), {"t": t, **rules}

    def tally(self) -> Tally:
        if self.growth:
            raise GameError("chains that grow cannot be annealed: use lr_decay, or growth=0")
        partial = 2 * (self.inner_steps - 1) + (2 * self.inner_steps if self.prox else 0)
        return Tally(calls=1 + partial, x=1, y=1, partial=partial)

    def length(self, t: int) -> int:
        """Return K_t, the steps of a chain in step t >= 1."""
        if not self.growth:
            return self.inner_steps
        return min(self.inner_steps, int((1 + self.growth) ** (t - self.published)))

    def _sample(self, oracle: Oracle, start: Tensor, against: Tensor, rules: State, t: int) -> tuple[Tensor, State]:
        """Return the damped mean of both chains from `start`, each player's against the other's block of `against`."""
        chain, mean = start, start
        for k in range(self.length(t)):
            oracle.draw()
            v = self._field(oracle, chain, against, one_point=k == 0 and against is start)
            now = rules if self.published else {name: {**state, "k": t - 1} for name, state in rules.items()}
            moved, rules = move_rules(pair(self.rule), oracle, chain, v, now)
            chain = oracle.project(moved)
            if self.published:
                oracle.follow(chain)
            mean = mean.lerp(chain, self.damping)
        return mean, rules

    def _field(self, oracle: Oracle, chain: Tensor, against: Tensor, one_point: bool) -> Tensor:
        if one_point:  # each player is where the other sees it: one call serves both
            return oracle(chain)
        (x, y), (other_x, other_y) = oracle.game.split(chain), oracle.game.split(against)
        return join([oracle(join([x, other_y], chain), 0), oracle(join([other_x, y], chain), 1)], chain)

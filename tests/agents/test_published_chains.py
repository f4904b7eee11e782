"""MixedNE-LD as published: the update against modules and an optimizer that are transcribed from the released code."""

import copy

import torch
from reference_ddpg import network, parameters
from torch import nn

import robustgames as rg
from robustgames.solvers import LangevinChains, make_solver
from robustgames.solvers import langevin as rules

PENDULUM = "robustgames/ActionRobustPendulum-v0"
ALPHA, BETA, TAU, L2, LR, NOISE = 0.1, 0.9, 0.05, 0.01, 1e-4, 1e-4


class SGLD:
    """Preconditioned SGLD of the released code; a noise vector of all weights is passed to every step."""

    def __init__(self, net):
        self.net, self.count = net, 0
        self.square_avg = [torch.zeros_like(p) for p in net.parameters()]

    def step(self, xi):
        self.count += 1
        lr_t, noise_t = LR * (1 - 1e-5) ** (self.count - 1), NOISE * (1 - 5e-5) ** (self.count - 1)
        xi = xi.split([p.numel() for p in self.net.parameters()])
        for p, s, drawn in zip(self.net.parameters(), self.square_avg, xi, strict=True):
            s.mul_(0.999).addcmul_(p.grad, p.grad, value=0.001)
            avg = s.sqrt().add_(1e-8)
            langevin = -drawn.view_as(p) * (1 / lr_t / avg).sqrt()  # subtracted there, and symmetric
            p.data.add_(p.grad / avg + 2**0.5 * noise_t * langevin, alpha=-lr_t)


class Published:
    """`DDPG` of the released code with two players, in the states of the minibatch instead of the next ones."""

    def __init__(self, actor, adversary, critic):
        self.inner, self.critic = nn.ModuleList([actor, adversary]), critic
        self.outer, self.bar = copy.deepcopy(self.inner), copy.deepcopy(self.inner)
        self.targets, self.critic_target = copy.deepcopy(self.inner), copy.deepcopy(critic)
        self.optims = [SGLD(net) for net in self.inner]
        self.critic_optim = torch.optim.Adam(critic.parameters(), lr=1e-3, weight_decay=L2)

    def train_step(self, kt, minibatch, xi):
        for net, slow, outer in zip(self.inner, self.bar, self.outer, strict=True):
            net.load_state_dict(outer.state_dict())
            slow.load_state_dict(outer.state_dict())
        for k in range(kt):
            self.update(*minibatch(), xi)
            soft_update(self.bar, self.inner, BETA)
            soft_update(self.targets, self.inner, TAU)
            soft_update(self.critic_target, self.critic, TAU)
            if k == kt - 1:
                soft_update(self.outer, self.bar, BETA)

    def update(self, states, actions, rewards, mask, after, xi):
        with torch.no_grad():
            action = (1 - ALPHA) * self.targets[0](after) + ALPHA * self.targets[1](after)
            expected = rewards + 0.99 * mask * self.critic_target(torch.cat([after, action], -1))
        self.critic_optim.zero_grad()
        nn.functional.mse_loss(self.critic(torch.cat([states, actions], -1)), expected).backward()
        self.critic_optim.step()
        for sign, player in ((-1, 0), (1, 1)):  # both against the other's outer net: the order does not matter
            self.inner[player].zero_grad()
            mu, nu = (net(states) for net in ([self.inner, self.outer][i != player][i] for i in range(2)))
            action = (1 - ALPHA) * mu + ALPHA * nu
            (sign * self.critic(torch.cat([states, action], -1)).mean()).backward()
            self.optims[player].step(xi())


def soft_update(target, source, share):
    for slow, fast in zip(target.parameters(), source.parameters(), strict=True):
        slow.data.copy_(slow.data * (1 - share) + fast.data * share)


def test_thirty_updates_are_those_of_the_released_code(monkeypatch):
    solver = LangevinChains(
        make_solver("mixed_ne_ld", lr=LR, noise=NOISE, published=True).rule, 3, growth=0.06, published=True
    )
    settings = {"hidden": (16, 16), "final": 0.0, "tau": TAU, "l2": L2, "every_draw": True, "batch_size": 8}
    agent = rg.RobustDDPG(PENDULUM, solver, 0, 1, {"alpha": ALPHA}, engine="torch", learning_starts=40, **settings)
    x, y = agent.game.split(agent.z[0])
    nets = [network((3, 16, 16, 1), nn.Tanh()) for _ in range(2)] + [network((4, 16, 16, 1))]
    for net, weights in zip(nets, (x, y, agent.practice.learning.first(agent.practice.state)[0]), strict=True):
        nn.utils.vector_to_parameters(weights.clone(), net.parameters())
    reference, batches, drawn, sample, normal = Published(*nets), [], [], agent.practice._sample, rules.normal

    def sampled(generator):
        batch = sample(generator)
        rows = (batch.states, batch.actions, batch.rewards, batch.continues, batch.next_states)
        with torch.inference_mode(False):  # the reference differentiates
            batches.append([torch.tensor(r[0].numpy()) for r in rows])
        return batch

    def noise(*arguments):
        xi = normal(*arguments)
        drawn.append(torch.tensor(xi.numpy()))
        return xi

    monkeypatch.setattr(agent.practice, "_sample", sampled)
    monkeypatch.setattr(rules, "normal", noise)
    agent.learn(40)
    lengths = []
    while agent.updates < 30:
        agent.learn(1, reset_num_timesteps=False)
        lengths.append(min(3, int(1.06 ** (agent.updates - 1))))
        left, vectors = iter(batches), iter(d[0] for d in drawn)
        reference.train_step(lengths[-1], lambda left=left: next(left), lambda vectors=vectors: next(vectors))
        assert next(left, None) is None and next(vectors, None) is None
        batches.clear()
        drawn.clear()
    assert lengths[0] == 1 and lengths[-1] == 3 and 2 in lengths
    for ours, theirs in (
        (agent.z[0], parameters(*reference.outer)),
        (agent.practice.target[0], parameters(*reference.targets)),
        (agent.practice.state["w"][0], parameters(reference.critic)),
        (agent.practice.state["target"][0], parameters(reference.critic_target)),
    ):
        torch.testing.assert_close(ours, nn.utils.parameters_to_vector(theirs).detach(), rtol=0, atol=1e-5)
    moved = (agent.z[0] - torch.cat([x, y])).abs().mean()
    assert moved > 1e-3

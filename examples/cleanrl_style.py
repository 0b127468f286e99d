"""Policy gradients in one file, over a vector of environments: python cleanrl_style.py [SAMPLES]

Needs pip install "archgym[gp]" for PyTorch. A categorical distribution per parameter, REINFORCE with a
baseline (Williams, 1992):

    grad J = E[(r - b) grad log p(design)] + c grad H(p)
"""

import sys

import gymnasium
import numpy as np
import torch

from archgym import finished

N, LEARNING_RATE, ENTROPY = 32, 0.05, 0.02
samples = int(sys.argv[1]) if sys.argv[1:] else 3200

torch.manual_seed(0)
envs = gymnasium.make_vec("archgym/Softmax-v0", num_envs=N)
logits = [torch.zeros(int(n), requires_grad=True) for n in envs.single_action_space.nvec]
optimizer = torch.optim.Adam(logits, lr=LEARNING_RATE)

envs.reset(seed=0)
best = -np.inf
for _ in range(samples // N):
    policy = [torch.distributions.Categorical(logits=z) for z in logits]
    actions = torch.stack([p.sample((N,)) for p in policy], dim=1)
    _, rewards, _, _, info = envs.step(actions.numpy())
    advantage = torch.as_tensor(rewards - rewards.mean(), dtype=torch.float32)
    log_prob = sum(p.log_prob(actions[:, j]) for j, p in enumerate(policy))
    loss = -(advantage * log_prob).mean() - ENTROPY * sum(p.entropy() for p in policy)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if rewards.max() > best:
        best, row = rewards.max(), rewards.argmax()
        design = {name: column[row] for name, column in finished(info)["design"].items()}
print(design, f"reward {best:.3f}")

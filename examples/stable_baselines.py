"""Stable-Baselines3 on an environment as it is: python stable_baselines.py [STEPS]

Needs pip install "archgym[rl]". The wrapper turns one design of several parameters into one step per
parameter, so that the policy chooses each in view of those before it.
"""

import sys

import gymnasium
from stable_baselines3 import PPO

from archgym import SequentialDesign

steps = int(sys.argv[1]) if sys.argv[1:] else 4096
env = SequentialDesign(gymnasium.make("archgym/Softmax-v0"))
model = PPO("MlpPolicy", env, n_steps=256, seed=0, device="cpu").learn(steps)

observation, info = env.reset(seed=0)
finished = False
while not finished:
    action, _ = model.predict(observation, deterministic=True)
    observation, reward, terminated, truncated, info = env.step(int(action))
    finished = terminated or truncated
print("the policy's design", info["design"], f"reward {reward:.3f}")

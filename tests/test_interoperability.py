"""What others have written for Gymnasium works on archgym's environments as it is."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from conftest import ENVS, LAYERS, Layers
from gymnasium.wrappers import NormalizeReward, RecordEpisodeStatistics
from gymnasium.wrappers.vector import NormalizeObservation
from gymnasium.wrappers.vector import NormalizeReward as VectorNormalizeReward
from gymnasium.wrappers.vector import RecordEpisodeStatistics as VectorRecordEpisodeStatistics

import archgym
from archgym import SequentialDesign, finished

ENV = "archgym/Softmax-v0"


def test_ppo_as_cleanrl_writes_it_learns():
    """The loop of CleanRL's ppo.py (Huang et al., 2022) for multi-discrete actions, on gymnasium.make_vec
    and nothing else of archgym.
    """
    torch = pytest.importorskip("torch")
    from torch import nn
    from torch.distributions import Categorical

    torch.manual_seed(0)
    envs = VectorRecordEpisodeStatistics(gymnasium.make_vec(ENV, num_envs=32))
    nvec = envs.single_action_space.nvec.tolist()
    inputs = int(np.prod(envs.single_observation_space.shape))
    actor = nn.Sequential(nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, sum(nvec)))
    critic = nn.Sequential(nn.Linear(inputs, 32), nn.Tanh(), nn.Linear(32, 1))
    optimizer = torch.optim.Adam([*actor.parameters(), *critic.parameters()], lr=0.02)

    def act(observations, actions=None):
        policy = [Categorical(logits=logits) for logits in actor(observations).split(nvec, dim=1)]
        actions = torch.stack([p.sample() for p in policy], dim=1) if actions is None else actions
        log_prob = torch.stack([p.log_prob(a) for p, a in zip(policy, actions.T, strict=True)]).sum(0)
        return actions, log_prob, sum(p.entropy() for p in policy), critic(observations)[:, 0]

    observations, _ = envs.reset(seed=0)
    means = []
    for _ in range(60):
        x = torch.as_tensor(observations)
        with torch.no_grad():
            actions, old, _, values = act(x)
        observations, rewards, terminations, _, info = envs.step(actions.numpy())
        assert terminations.all() and np.allclose(finished(info)["reward"], rewards)
        means.append(rewards.mean())
        returns = torch.as_tensor(rewards, dtype=torch.float32)
        advantage = returns - values
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        for _ in range(4):
            _, new, entropy, value = act(x, actions)
            ratio = (new - old).exp()
            loss = (
                -torch.min(advantage * ratio, advantage * ratio.clamp(0.8, 1.2)).mean()
                - 0.01 * entropy.mean()
            )
            loss = loss + 0.5 * ((value - returns) ** 2).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert np.mean(means[-10:]) > np.mean(means[:10]) + 1
    assert envs.unwrapped.ledger.samples == 60 * 32


def test_stable_baselines_learns_and_logs_to_tensorboard(tmp_path):
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    env = SequentialDesign(gymnasium.make(ENV))
    model = stable_baselines3.PPO(
        "MlpPolicy", env, n_steps=64, seed=0, device="cpu", tensorboard_log=str(tmp_path)
    )
    model.learn(256, tb_log_name="softmax")
    events = EventAccumulator(str(tmp_path / "softmax_1")).Reload()
    assert {"rollout/ep_rew_mean", "train/loss"} <= set(events.Tags()["scalars"])


@pytest.mark.parametrize("env_id", ENVS)
@pytest.mark.filterwarnings("ignore:.*render_mode.*", "ignore:You tried to call render")
def test_stable_baselines_makes_environments_by_their_ids(env_id):
    stable_baselines3 = pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_util import make_vec_env

    env = make_vec_env(env_id, n_envs=2, seed=0)
    env.reset()
    _, rewards, done, infos = env.step(np.array([env.action_space.sample() for _ in range(2)]))
    assert rewards.shape == (2,) and done.all()
    space = env.envs[0].unwrapped.simulator.space
    active = space.active(space.encode(infos[0]["design"]))[0]
    assert list(infos[0]["design"]) == [name for name, on in zip(space.names, active, strict=True) if on]
    assert env.render() is None and env.render_mode is None
    env.close()
    model = stable_baselines3.PPO("MlpPolicy", env_id, n_steps=8, batch_size=8, seed=0, device="cpu").learn(8)
    assert model.get_env().render() is None


@pytest.mark.filterwarnings("ignore:.*render_mode.*")
@pytest.mark.parametrize(("env_id", "start"), [(ENV, None), (f"archgym:{ENV}", "spawn")])
def test_stable_baselines_processes_make_environments_by_their_ids(env_id, start):
    pytest.importorskip("stable_baselines3")
    from stable_baselines3.common.env_util import make_vec_env
    from stable_baselines3.common.vec_env import SubprocVecEnv

    env = make_vec_env(
        env_id,
        n_envs=2,
        vec_env_cls=SubprocVecEnv,
        vec_env_kwargs={"start_method": start},
        wrapper_class=SequentialDesign,
    )
    try:
        env.reset()
        assert env.step(np.zeros(2, int))[1].shape == (2,) and env.get_attr("render_mode") == [None, None]
    finally:
        env.close()


def test_a_masked_policy_names_only_values_that_there_are():
    contrib = pytest.importorskip("sb3_contrib")
    env = SequentialDesign(gymnasium.make(ENV))
    model = contrib.MaskablePPO("MlpPolicy", env, n_steps=64, seed=0, device="cpu").learn(128)
    nvec = env.unwrapped.simulator.space.nvec
    observation, _ = env.reset(seed=0)
    for n in nvec:
        action, _ = model.predict(observation, action_masks=env.action_masks())
        assert action < n == env.action_masks().sum()
        observation, *_ = env.step(int(action))


@pytest.mark.parametrize("skip_inactive", [True, False])
def test_a_masked_policy_learns_in_a_conditional_space(skip_inactive):
    contrib = pytest.importorskip("sb3_contrib")
    env = SequentialDesign(archgym.ArchEnv(LAYERS), skip_inactive=skip_inactive)
    settings = {"n_steps": 128, "batch_size": 128, "n_epochs": 6, "learning_rate": 1e-2, "gamma": 1.0}
    contrib.MaskablePPO("MlpPolicy", env, **settings, seed=0, device="cpu").learn(2048)
    rewards = env.unwrapped.ledger.column("reward")
    drawn = archgym.ArchVectorEnv(LAYERS, 500)
    drawn.reset()
    by_chance = drawn.step(Layers.space.sample(500, np.random.default_rng(0), per="parameter"))[1].mean()
    assert rewards[:60].mean() == pytest.approx(by_chance, abs=0.3)
    assert rewards[-60:].mean() > by_chance + 1


def test_optunas_optimize_drives_an_environment():
    import optuna

    env = gymnasium.make(ENV).unwrapped
    space = env.simulator.space
    env.reset(seed=0)

    def objective(trial):
        action = [
            trial.suggest_int(name, 0, int(n) - 1) for name, n in zip(space.names, space.nvec, strict=True)
        ]
        _, reward, *_ = env.step(action)
        env.reset()
        return reward

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(objective, n_trials=60)
    assert study.best_value == pytest.approx(env.ledger.best_reward) and env.ledger.samples == 60


def test_gymnasiums_wrappers_of_one_environment():
    env = NormalizeReward(RecordEpisodeStatistics(gymnasium.make(ENV, horizon=3)))
    env.reset(seed=0)
    env.action_space.seed(0)
    for step in range(3):
        _, _, terminated, truncated, info = env.step(env.action_space.sample())
        assert (terminated or truncated) == (step == 2)
    assert info["episode"]["l"] == 3


@pytest.mark.parametrize("wrapper", [VectorRecordEpisodeStatistics, VectorNormalizeReward])
def test_gymnasiums_vector_wrappers_of_rewards_take_the_default_autoreset(wrapper):
    envs = wrapper(gymnasium.make_vec(ENV, num_envs=4))
    envs.reset(seed=0)
    envs.action_space.seed(0)
    _, rewards, terminations, _, _ = envs.step(envs.action_space.sample())
    assert rewards.shape == (4,) and terminations.all()


def test_gymnasiums_vector_wrappers_of_observations_ask_for_another_autoreset():
    with pytest.raises((AssertionError, ValueError)):
        NormalizeObservation(gymnasium.make_vec(ENV, num_envs=4))
    envs = NormalizeObservation(gymnasium.make_vec(ENV, num_envs=4, autoreset_mode="NextStep"))
    observations, _ = envs.reset(seed=0)
    assert observations.shape == envs.observation_space.shape


def test_an_environment_is_made_from_its_specification_and_through_vector_environments_of_gymnasium():
    spec = gymnasium.make(ENV, cols=4096).spec
    again = gymnasium.make(gymnasium.envs.registration.EnvSpec.from_json(spec.to_json()))
    assert (
        again.unwrapped.simulator.specification
        == gymnasium.make(ENV, cols=4096).unwrapped.simulator.specification
    )
    envs = gymnasium.make_vec(ENV, num_envs=2, vectorization_mode="sync")
    envs.reset(seed=0)
    assert envs.step(envs.action_space.sample())[1].shape == (2,)
    assert archgym.list_envs()

"""Proxies: models that learn a simulator from a data set and then stand in for it.

Dataset -> train -> Trained (a ProxySimulator and its errors) -> DIR
DIR -> ProxySimulator.load, proxy_env, the environment archgym.proxy.env:archgym/Proxy-v0, ProxySearch
"""

from archgym.proxy.env import proxy_env
from archgym.proxy.search import ProxySearch
from archgym.proxy.simulator import ProxySimulator
from archgym.proxy.training import Trained, load_trained, save_trained, train

__all__ = ["ProxySearch", "ProxySimulator", "Trained", "load_trained", "proxy_env", "save_trained", "train"]

"""archgym.remote:archgym/Remote-v0: the environment of a task that `archgym serve` serves, here or elsewhere.

## Description
The task behind a URL as an ordinary environment. Simulator and budget are the service's, which counts
every evaluated design; space, metrics, objective and horizon are its answer to `GET /task`, and rewards are
computed here from exact metrics, so that they equal the service's bit for bit. The module's name in the id
makes Gymnasium import it; searches and studies take the id too, with `url` among the arguments.

## Action Space
The action space of the served environment.

## Observation Space
The observation space of the served environment.

## Rewards
The objective of the served environment, or of its context; `objective=` replaces it.

## Starting State
No design: an observation of zeros.

## Episode End
After the served number of designs, or after `horizon` designs.

## Arguments
| Argument | Type | Default | Meaning |
|---|---|---|---|
| url | str | | address of the service |
| agent | str | "remote" | name of the agent in the service's records |
| hyperparameters | dict | {} | hyperparameters in the service's records |
| seed | int or None | None | seed of the session; None takes the service's next free one |
| context | str or None | None | name of a context, where the service has several |
| session | str or None | None | session to continue; `archgym.remote.make` takes its token |
| timeout_s | float | 120 | seconds for an answer, and for retries from the first failure on |
"""

from archgym.registry import register_env
from archgym.remote.env import ID, make, make_vec, ticket
from archgym.remote.simulator import RemoteSimulator

register_env(ID, simulator="archgym.remote.simulator:RemoteSimulator")

__all__ = ["ID", "RemoteSimulator", "make", "make_vec", "ticket"]

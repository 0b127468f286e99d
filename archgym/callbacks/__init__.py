"""What is told of a search while it runs: `Callback`, and loggers for TensorBoard, Weights & Biases and
MLflow, whose packages are imported when a search starts.
"""

from archgym.callbacks.base import Callback as Callback
from archgym.callbacks.base import Watched as Watched
from archgym.callbacks.mlflow import MLflow as MLflow
from archgym.callbacks.named import make_callback as make_callback
from archgym.callbacks.tensorboard import TensorBoard as TensorBoard
from archgym.callbacks.wandb import WandB as WandB

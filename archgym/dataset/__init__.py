"""Data sets: the measurements of searches and samplings, one row per design and agent, for models to learn
from.
"""

from archgym.dataset.build import build
from archgym.dataset.data import Dataset
from archgym.dataset.files import load_dataset, save_dataset
from archgym.dataset.sample import METHODS, sample

__all__ = ["METHODS", "Dataset", "build", "load_dataset", "sample", "save_dataset"]

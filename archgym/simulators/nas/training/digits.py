"""The noisy digits task: scikit-learn's 1,797 images of 8x8 pixels, made so hard that architectures differ.

Without noise, test accuracy is .99 for most cells. The task:

    split       897 training, 450 validation and 450 test images, one permutation for all cells and seeds
    noise       an image is shifted by -1, 0 or 1 pixel in each direction and gets Gaussian noise of standard
                deviation `noise` (pixels are from 0 to 1); in a larger frame it may stand anywhere, up to
                1 pixel beyond the edge
    evaluation  three fixed such copies of every validation and test image: 1,350 of each
    training    a new copy of every image per epoch, drawn from the training seed, equal for all cells

Source of the images: Alpaydin & Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998
(`sklearn.datasets.load_digits`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

from archgym.errors import ArchGymError, MissingDependency

Images = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

SIDE = 8  # pixels
CLASSES = 10
SPLIT_SEED = 0
TRAINING, HELD_OUT = 897, 450  # images; the rest of the 1,797 is the test set
COPIES = 3
BATCH = 64
BATCHES = TRAINING // BATCH  # per epoch, which leaves one image out, a different one each time
_TRAINING_STREAM, _VALIDATION_STREAM, _TEST_STREAM = 0, 1, 2


@dataclass(frozen=True)
class Digits:
    """The task at one level of noise, in frames of H x H pixels.

    Attributes:
        noise: standard deviation of the pixels' noise.
        side: H.
        valid_images, test_images: float32 [1350, H, H].
        valid_labels, test_labels: int64 [1350].
    """

    noise: float
    side: int
    valid_images: Images
    valid_labels: Labels
    test_images: Images
    test_labels: Labels
    _train_images: Images
    _train_labels: Labels

    def epoch(self, seed: int, epoch: int) -> tuple[Images, Labels]:
        """Training data of a seed in one epoch, in order: images float32 [896, H, H], labels int64 [896]."""
        rng = np.random.default_rng([_TRAINING_STREAM, seed, epoch])
        order = rng.permutation(TRAINING)[: BATCHES * BATCH]
        return _disturbed(self._train_images[order], self.noise, self.side, rng), self._train_labels[order]


@cache
def load_digits_task(noise: float, side: int = SIDE) -> Digits:
    """The task at a level of noise.

    Args:
        noise: standard deviation of the pixels' noise.
        side: height and width of frames in pixels, 8 or more.

    Raises:
        ArchGymError: scikit-learn is not installed, or the noise is negative.
    """
    if not noise >= 0:
        raise ArchGymError(f"the noise is a standard deviation, 0 or more, not {noise!r}")
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        raise MissingDependency(
            "training cells needs scikit-learn and PyTorch: pip install 'archgym[nas]'"
        ) from None
    digits = load_digits()
    images, labels = (digits.images / 16).astype(np.float32), digits.target.astype(np.int64)
    order = np.random.default_rng(SPLIT_SEED).permutation(len(images))
    train, valid, test = np.split(order, [TRAINING, TRAINING + HELD_OUT])

    def evaluation(part: Labels, stream: int) -> tuple[Images, Labels]:
        rng = np.random.default_rng([stream, SPLIT_SEED])
        return np.concatenate([_disturbed(images[part], noise, side, rng) for _ in range(COPIES)]), np.tile(
            labels[part], COPIES
        )

    return Digits(
        noise,
        side,
        *evaluation(valid, _VALIDATION_STREAM),
        *evaluation(test, _TEST_STREAM),
        images[train],
        labels[train],
    )


def _disturbed(images: Images, noise: float, side: int, rng: np.random.Generator) -> Images:
    """Every image somewhere in its frame, dark pixels around it, and with noise: [n, 8, 8] -> [n, H, H]."""
    spare = side - SIDE
    padded = np.pad(images, ((0, 0), (spare + 1, spare + 1), (spare + 1, spare + 1)))
    down, right = rng.integers(0, spare + 3, (2, len(images), 1, 1))
    pixel = np.arange(side)
    shifted = padded[np.arange(len(images))[:, None, None], down + pixel[:, None], right + pixel]
    return np.asarray(shifted + noise * rng.standard_normal(shifted.shape), np.float32)

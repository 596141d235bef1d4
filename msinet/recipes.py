"""Every number of a search and of a retraining. The defaults are those of the paper (Gu et al., CVPR 2023)."""

from dataclasses import dataclass
from typing import Literal

from msinet.schemes import MIXTURE, Scheme
from msinet.settings import STRICT, require, require_choice, rises

Precision = Literal["float32", "bf16"]
Supervision = Literal["tcm", "softmax"]
Alignment = Literal["none", "pos", "neg", "pos_neg", "sam_softmax", "consistent_attention", "activation_distribution"]
# (height, width) in pixels of the pictures that networks receive, as in the paper.
PERSON_SIZE, VEHICLE_SIZE = (256, 128), (256, 256)


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """The random changes of a training picture after resizing. Erasing follows normalisation, all others precede it.

    Attributes:
        flip: Probability of a horizontal flip.
        pad: Number of black pixels added on every side, before a crop of the original size at a random place.
        brightness, contrast, saturation: For the value x, a factor is drawn from [1 - x, 1 + x]; 0 changes nothing.
        erasing: Probability of filling a random rectangle.
    """

    __pydantic_config__ = STRICT

    flip: float = 0.5
    pad: int = 10
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    erasing: float = 0.0

    def __post_init__(self) -> None:
        for name in ("flip", "brightness", "contrast", "saturation", "erasing"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"`{name}` must be 0 to 1, but got {getattr(self, name)} (augmentation.{name}).")
        if self.pad < 0:
            raise ValueError(f"`pad` must not be negative, but got {self.pad} (augmentation.pad).")


IN_DOMAIN = Augmentation(erasing=0.5)
CROSS_DOMAIN = Augmentation(brightness=0.4, contrast=0.4, saturation=0.3)


@dataclass(frozen=True, kw_only=True)
class BatchRecipe:
    """The numbers that a search and a retraining share: P×K batches and the optimiser of the weights.

    Attributes:
        epochs: Number of passes over the training identities.
        batch_size: Number of images in a batch: P identities × `num_instances`.
        num_instances: K, the number of images of one identity in a batch.
        optimizer: Optimiser of the weights.
        lr: Learning rate after the warm-up.
        momentum: Momentum of SGD; Adam ignores it.
        weight_decay: L2 penalty.
        warmup_epochs: Number of epochs in which the factor on `lr` rises linearly to 1; 0 for no warm-up.
        warmup_factor: The factor of the first epoch.
        milestones: Epochs at which the factor is multiplied by `gamma`.
        gamma: See `milestones`.
        augmentation: Random changes of a training image after it is resized.
        precision: `float32`, or `bf16` for automatic mixed precision.
    """

    __pydantic_config__ = STRICT

    epochs: int = 350
    batch_size: int = 64
    num_instances: int = 4
    optimizer: Literal["sgd", "adam"] = "sgd"
    lr: float = 0.065
    momentum: float = 0.9
    weight_decay: float = 5e-4
    warmup_epochs: int = 10
    warmup_factor: float = 0.01
    milestones: tuple[int, ...] = (150, 225, 300)
    gamma: float = 0.1
    augmentation: Augmentation = IN_DOMAIN
    precision: Precision = "float32"

    def __post_init__(self) -> None:
        require(self, "at least 1", lambda x: x >= 1, "epochs", "batch_size", "num_instances")
        if self.batch_size % self.num_instances:
            raise ValueError(
                "`batch_size` must be a multiple of `num_instances`, but got "
                f"batch_size={self.batch_size}, num_instances={self.num_instances}."
            )
        if self.num_ids < 2:
            raise ValueError(
                "a batch must hold at least two identities, but got "
                f"batch_size={self.batch_size}, num_instances={self.num_instances}."
            )
        require(self, "positive", lambda x: x > 0, "lr", "gamma")
        require(self, "0 to 1", lambda x: 0 <= x <= 1, "momentum", "warmup_factor")
        require(self, "at least 0", lambda x: x >= 0, "weight_decay", "warmup_epochs")
        require(self, "rising", rises, "milestones")
        require_choice(self, Precision, "precision")

    @property
    def num_ids(self) -> int:
        """Return P, the number of identities in a batch."""
        return self.batch_size // self.num_instances


@dataclass(frozen=True, kw_only=True)
class SearchRecipe(BatchRecipe):
    """The numbers of a search. The inherited optimiser trains the weights; α has an Adam optimiser of its own.

    Attributes:
        alpha_lr: Learning rate of α, without warm-up.
        alpha_betas: The two betas of Adam.
        alpha_weight_decay: L2 penalty on α.
        alpha_milestones: Epochs at which α's learning rate is multiplied by `gamma`.
        supervision: `tcm` is the twins contrastive mechanism. `softmax`, with which the paper compares it, is the cross
            entropy of a classifier that both sides share.
        temperature: τ of the contrastive loss; `softmax` ignores it.
        memory_momentum: Share of an identity's memory that an update keeps; `softmax` has no memory.
        scheme: Which operations the supernet computes in each step, and how the search ends in a genotype
            (`msinet.schemes`). The paper's is the mixture of all operations.
    """

    lr: float = 0.025
    alpha_lr: float = 0.002
    alpha_betas: tuple[float, float] = (0.5, 0.999)
    alpha_weight_decay: float = 1e-3
    alpha_milestones: tuple[int, ...] = (150, 225)
    supervision: Supervision = "tcm"
    temperature: float = 0.05
    memory_momentum: float = 0.2
    scheme: Scheme = MIXTURE

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "positive", lambda x: x > 0, "alpha_lr", "temperature")
        require(
            self, "two numbers from 0 to below 1", lambda x: len(x) == 2 and 0 <= min(x) <= max(x) < 1, "alpha_betas"
        )
        require(self, "at least 0", lambda x: x >= 0, "alpha_weight_decay")
        require(self, "rising", rises, "alpha_milestones")
        require(self, "0 to 1", lambda x: 0 <= x <= 1, "memory_momentum")
        require_choice(self, Supervision, "supervision")


@dataclass(frozen=True, kw_only=True)
class TrainRecipe(BatchRecipe):
    """The numbers of a retraining.

    Its loss is cross entropy and batch-hard triplet loss on every head, and the alignment of activations.

    Attributes:
        label_smoothing: Label smoothing of the cross entropy.
        margin: Margin of the triplet loss.
        alignment: The alignment loss that is added (`msinet.losses`). `pos`, `neg` and `pos_neg` are the spatial
            alignment of MSINet's paper; `sam_softmax` is `pos_neg` with a softmax over the attention's energy (Table
            11). With `consistent_attention` and `activation_distribution` the paper compares its alignment.
        alignment_weight: Weight of the alignment in the sum.
    """

    label_smoothing: float = 0.1
    margin: float = 0.3
    alignment: Alignment = "none"
    alignment_weight: float = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self, "0 to 1", lambda x: 0 <= x <= 1, "label_smoothing")
        require(self, "at least 0", lambda x: x >= 0, "margin", "alignment_weight")
        require_choice(self, Alignment, "alignment")
        if self.alignment == "activation_distribution" and self.num_instances < 2:
            raise ValueError(
                "`alignment` activation_distribution compares two images of one identity, so `num_instances` must be "
                f"at least 2, but got {self.num_instances}."
            )


RECIPES: dict[str, TrainRecipe] = {
    "in_domain": TrainRecipe(),
    "cross_domain": TrainRecipe(epochs=250, augmentation=CROSS_DOMAIN),
    "strong_baseline": TrainRecipe(
        epochs=120, optimizer="adam", lr=3.5e-4, milestones=(40, 70), augmentation=IN_DOMAIN
    ),
}

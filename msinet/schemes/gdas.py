"""One sampled path in each pass, with straight-through Gumbel-softmax: GDAS.

Dong and Yang, "Searching for a Robust Neural Architecture in Four GPU Hours", CVPR 2019, arXiv 1910.04465.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from msinet.schemes.scheme import Moment, Scheme, one_path
from msinet.settings import require

if TYPE_CHECKING:
    from torch import Tensor

    from msinet.schemes.scheme import Mixture


@dataclass(frozen=True, kw_only=True)
class Gdas(Scheme):
    """Only the sampled operation of each slot is computed. The genotype is the argmax of α.

    A slot's operation is the argmax of (log softmax(α) + g) / τ, where g are Gumbel numbers. Its output is multiplied
    by 1 + p − p₀: p is its probability under the softmax of the same numbers, and p₀ is the value of p without
    gradient. So the output is that of the operation alone, and α receives the gradient of p (equations 6 and 7).

    The host must know the sampled operations before it can start them, so each pass reads 12 numbers from the device
    and waits for it. All other schemes run without such a wait.

    Attributes:
        temperatures: τ in the first and in the last epoch; it falls linearly in between. The default is the paper's.
    """

    name: Literal["gdas"] = "gdas"
    temperatures: tuple[float, float] = (10.0, 0.1)

    def __post_init__(self) -> None:
        require(self, "two positive numbers, the second not above the first", _fall, "temperatures")

    def temperature(self, epoch: int, epochs: int) -> float:
        """Return τ of an epoch, counted from 0."""
        first, last = self.temperatures
        return first + (last - first) * epoch / max(1, epochs - 1)

    def mixture(self, alphas_SO: "Tensor", moment: Moment) -> "Mixture":
        noise_SO = alphas_SO.new_tensor(moment.rng.gumbel(size=alphas_SO.shape))
        noisy_SO = alphas_SO.log_softmax(-1) + noise_SO
        chosen_S = noisy_SO.argmax(-1)
        probability_S = (noisy_SO / self.temperature(moment.epoch, moment.epochs)).softmax(-1)
        probability_S = probability_S.gather(1, chosen_S[:, None])[:, 0]
        weight_S = 1 + (probability_S - probability_S.detach())
        return one_path(chosen_S.tolist(), alphas_SO.shape[1], weight_S.unbind())


def _fall(temperatures: tuple[float, float]) -> bool:
    return temperatures[0] >= temperatures[1] > 0

"""The mixture of all operations, weighted by softmax(α): the scheme of MSINet (Gu et al., CVPR 2023).

The relaxation is that of DARTS (Liu et al., ICLR 2019, arXiv 1806.09055) in its first-order form.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from msinet.schemes.scheme import Moment, Scheme

if TYPE_CHECKING:
    from torch import Tensor

    from msinet.schemes.scheme import Mixture


@dataclass(frozen=True, kw_only=True)
class SoftmaxMixture(Scheme):
    """Every operation is computed in every step, and the genotype is the argmax of α. It has no settings."""

    name: Literal["mixture"] = "mixture"

    def mixture(self, alphas_SO: "Tensor", moment: Moment) -> "Mixture":
        return softmax_mixture(alphas_SO)


def softmax_mixture(alphas_SO: "Tensor") -> "Mixture":
    """Return the weights softmax(α) of all operations."""
    return [row_O.unbind() for row_O in alphas_SO.softmax(dim=-1).unbind()]

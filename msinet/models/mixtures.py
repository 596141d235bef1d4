"""The interaction of a supernet's slot: all operations that the slot offers, summed with a weight for each."""

from collections.abc import Sequence
from typing import Any

from torch import nn

from msinet.models.interactions import Maps, MixedInteraction, PartialInteraction, build_operation
from msinet.spaces.operations import PAPER_OPERATIONS
from msinet.spaces.space import Space


class SummedInteraction(nn.Module):
    """The weighted sum of any operations, for any number of branches.

    With a one-hot row of weights the result equals that of the one operation bit for bit, because the other terms add
    exact zeros.

    Args:
        operations: The operations that the slot offers.
        columns: The operations that the weights belong to; those that the slot does not offer are ignored.
        channels: Channels of a branch.
        num_branches: Number of branches.
    """

    def __init__(self, operations: Sequence[str], columns: Sequence[str], channels: int, num_branches: int) -> None:
        super().__init__()
        self.num_branches = num_branches
        self.columns = {operation: columns.index(operation) for operation in operations}
        for operation in operations:
            self.add_module(operation, build_operation(operation, channels, num_branches))

    def forward(self, *branches_and_weights: Any) -> Maps:
        """Return the mixed branches.

        Args:
            branches_and_weights: The branches, then a scalar for each of `columns`. If it is None, the operation is not
                computed.

        Raises:
            ValueError: All weights are None.
        """
        branches, weights = branches_and_weights[: self.num_branches], branches_and_weights[self.num_branches :]
        mixed: Maps = ()
        for operation, column in self.columns.items():
            weight = weights[column]
            if weight is None:
                continue
            maps = self.get_submodule(operation)(*branches)
            # The weight 1 of a path that is drawn without α costs nothing.
            terms = maps if isinstance(weight, float) and weight == 1 else [weight * map_BCHW for map_BCHW in maps]
            mixed = tuple(total + term for total, term in zip(mixed, terms, strict=True)) if mixed else tuple(terms)
        if not mixed:
            raise ValueError("a slot must compute at least one operation, but all its weights are None.")
        return mixed


def build_mixture(space: Space, slot: int, channels: int, divisor: int = 1) -> nn.Module:
    """Build the interaction of a supernet's slot.

    The paper's four operations between two branches have a form of their own, which writes fewer maps.

    Args:
        space: The space.
        slot: Index of the slot, from 0.
        channels: Channels of a branch.
        divisor: One `divisor`-th of the channels passes through the operations.
    """
    operations, num_branches = space.operations[slot], len(space.scales)

    def build(width: int) -> nn.Module:
        if operations == space.columns == PAPER_OPERATIONS and num_branches == 2:
            return MixedInteraction(width)
        return SummedInteraction(operations, space.columns, width, num_branches)

    return build(channels) if divisor == 1 else PartialInteraction(channels, divisor, build, num_branches)

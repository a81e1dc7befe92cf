"""Evaluating the network for many rows within the memory that there is."""

from __future__ import annotations

import torch
from torch import Tensor

from ..device import with_less_memory
from ..networks.mrc import MRCContext, MRCUNet


class Rows:
    """The network on all rows at once, or row by row from when memory has run out.

    Parameters
    ----------
    network
        The MRC UNet.
    context
        Of as many rows as are evaluated.
    """

    def __init__(self, network: MRCUNet, context: MRCContext):
        self._network, self._context = network, context
        self._one_by_one = False

    def __call__(self, z: Tensor, time: float) -> Tensor:
        """Prediction [B, C, T, F] for z [B, C, T, F] at one time.

        Raises
        ------
        torch.OutOfMemoryError
            If there is no memory for one row either.
        """
        times = torch.full((len(z),), time, device=z.device)

        def small() -> Tensor:
            # For all further steps too, which would find no more memory than this one.
            self._one_by_one = True
            rows = enumerate(z.split(1))
            return torch.cat(
                [self._network.denoise(row, times[:1], self._context.row(i)) for i, row in rows]
            )

        def whole() -> Tensor:
            return small() if self._one_by_one else self._network.denoise(z, times, self._context)

        return with_less_memory(whole, small, "sampling")

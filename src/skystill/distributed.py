"""The one thing losses need of distributed training: a mean over workers, the value itself when there is one worker."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor


@torch.no_grad()
def mean_over_workers(value: Tensor) -> Tensor:
    """Mean of a scalar over all workers, without gradient; normalisers use it so that a step does not depend on the
    split."""
    value = value.detach().clone()
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(value)
        value /= dist.get_world_size()
    return value

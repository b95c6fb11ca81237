"""What a detector costs: parameters, operations, time of each step, memory. One image at a time, as on board.

Operations are FLOPs by torch's counter: a multiply-add is 2; convolutions (grouped and depthwise by their groups),
matrix products and attention count, element-wise work does not. Papers that count multiply-adds report half of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from skystill.boxes.nms import Selection
from skystill.contention import waited
from skystill.detectors.base import Detector
from skystill.detectors.modes import evaluating
from skystill.memory import peak_memory, restart_peak, status


@dataclass(frozen=True)
class Latency:
    """Milliseconds: the median and the 95th percentile of the runs."""

    p50: float
    p95: float


@dataclass(frozen=True)
class Cost:
    """The cost of one image of `height` x `width` pixels.

    parameters: number of weights. gflops: 1e9 FLOPs, a multiply-add is 2. pre: uint8 (H, W, C) to a float batch on the
    device. model: `raw`. post: `select` (threshold, top-k, NMS), back on the CPU. total: the three of one run together.
    memory_mib: weights and what one run adds at its peak, nan where the system does not tell.
    device, threads (CPU), runs: how it was measured.
    waited: share of that time in which it had no core because of other programs, nan where the system does not tell.
    """

    parameters: int
    gflops: float
    pre: Latency
    model: Latency
    post: Latency
    total: Latency
    memory_mib: float
    height: int
    width: int
    device: str
    threads: int
    runs: int
    waited: float

    @property
    def fps(self) -> float:
        """Images a second at the median."""
        return 1000.0 / self.total.p50

    def as_dict(self) -> dict[str, Any]:
        """A dict that JSON can hold: nan becomes None."""
        told = asdict(self)
        unknown = {name: None for name, value in told.items() if isinstance(value, float) and math.isnan(value)}
        return {**told, **unknown, "fps": self.fps}


def measure_cost(
    detector: Detector,
    image: NDArray[np.uint8],
    how: Selection | None = None,
    runs: int = 50,
    warmup: int = 5,
) -> Cost:
    """The cost of one image on the device where the detector is.

    image: (H, W, C) uint8. Take a real one: the time of NMS grows with what the detector finds. The detector runs in
    evaluation mode and gets its mode back. Times are only worth comparing on one machine that does nothing else.
    """
    device = next(detector.parameters()).device
    with evaluating(detector):
        batch = to_batch(image, device)
        flops = count_flops(detector.raw, batch)
        memory = _peak_memory(lambda: detector.raw(batch), detector, device)
        start, before = time.perf_counter(), waited()
        times = _times(detector, image, how, device, runs, warmup)
        share = (waited() - before) / (time.perf_counter() - start)
    pre, model, post = times.T
    return Cost(
        parameters=count_parameters(detector),
        gflops=flops / 1e9,
        pre=_latency(pre),
        model=_latency(model),
        post=_latency(post),
        total=_latency(times.sum(axis=1)),
        memory_mib=memory / 2**20,
        height=image.shape[0],
        width=image.shape[1],
        device=torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        threads=torch.get_num_threads(),
        runs=runs,
        waited=share,
    )


def count_parameters(module: nn.Module) -> int:
    """How many weights a module has; shared ones count once, buffers do not."""
    return sum(p.numel() for p in module.parameters())


def count_flops(function: Callable[[Tensor], object], images: Tensor) -> int:
    """FLOPs of one call; a multiply-add is 2. Deformable convolutions count as the plain ones of their shape."""
    from torchvision.ops import deform_conv2d  # registers the operator

    assert deform_conv2d is not None
    counter = FlopCounterMode(display=False, custom_mapping={torch.ops.torchvision.deform_conv2d: _deform_conv_flops})
    with torch.no_grad(), counter:
        function(images)
    return int(counter.get_total_flops())


def to_batch(image: NDArray[np.uint8], device: torch.device | str) -> Tensor:
    """(H, W, C) uint8 to (1, C, H, W) float32 in 0..1 on the device."""
    return torch.from_numpy(image).to(device).permute(2, 0, 1)[None].float().div_(255.0).contiguous()


def _deform_conv_flops(_: object, weight_shape: list[int], *__: object, out_shape: list[int], **___: object) -> int:
    per_cell = math.prod(weight_shape[1:])
    return 2 * math.prod(out_shape) * per_cell


@torch.no_grad()
def _times(
    detector: Detector, image: NDArray[np.uint8], how: Selection | None, device: torch.device, runs: int, warmup: int
) -> NDArray[np.float64]:
    """(runs, 3) milliseconds of pre, model, post."""
    rows = []
    for _ in range(warmup + runs):
        start = _now(device)
        batch = to_batch(image, device)
        ready = _now(device)
        scores, boxes = detector.raw(batch)
        done = _now(device)
        for found in detector.select(scores, boxes, how):
            found.to("cpu")
        rows.append((ready - start, done - ready, _now(device) - done))
    return 1000 * np.array(rows[warmup:], dtype=np.float64)


def _now(device: torch.device) -> float:
    """Seconds, after the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def _latency(milliseconds: NDArray[np.float64]) -> Latency:
    p50, p95 = np.percentile(milliseconds, [50, 95])
    return Latency(float(p50), float(p95))


@torch.no_grad()
def _peak_memory(run: Callable[[], object], module: nn.Module, device: torch.device) -> float:
    """Bytes: the module's weights and buffers, and what a run adds at its peak.

    CUDA: what torch allocates. CPU: growth of the process's resident memory (Linux), elsewhere nan; the median of
    several runs, for in any one of them the process may give back memory that something else held.
    """
    weights = sum(t.numel() * t.element_size() for t in [*module.parameters(), *module.buffers()])
    run()  # the first run also builds kernels and thread pools
    return weights + float(np.median([_growth(run, device) for _ in range(1 if device.type == "cuda" else 5)]))


def _growth(run: Callable[[], object], device: torch.device) -> float:
    """Bytes by which memory grows at most during a run, nan where the system does not tell."""
    if not restart_peak(device):
        return math.nan
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else status("VmRSS")
    run()
    return max(peak_memory(device) - before, 0.0)

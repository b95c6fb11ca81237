"""Images and truths on which contracts are tried."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from skystill.boxes.obb import hbb_to_obb, le90
from skystill.errors import SkystillError
from skystill.kinds import BoxKind
from skystill.structures import Targets


def noise(bands: int, size: tuple[int, int], batch: int = 2) -> Tensor:
    """(batch, bands, H, W) in 0..1, the same at each call."""
    return torch.rand(batch, bands, *size, generator=torch.Generator().manual_seed(5))


def objects(classes: int, size: tuple[int, int], kind: BoxKind = "hbb") -> Targets:
    """Three objects of different size in an image of (height, width), of the first classes."""
    share = torch.tensor([[0.06, 0.09, 0.63, 0.58], [0.47, 0.44, 0.95, 0.98], [0.78, 0.05, 0.91, 0.19]])
    boxes = share * torch.tensor([size[1], size[0], size[1], size[0]])
    return _truth(boxes, [0, 1, 2], classes, kind, "objects")


def odd_truths(classes: int, size: tuple[int, int], kind: BoxKind = "hbb") -> dict[str, Targets]:
    """The truths that break detectors, each of one image."""
    whole = torch.tensor([[0.0, 0.0, size[1], size[0]]])
    tiny = torch.tensor([[20.6, 20.7, 22.1, 22.4]])
    return {
        "nothing": _truth(tiny[:0], [], classes, kind, "nothing"),
        "smaller than a cell": _truth(tiny, [2], classes, kind, "tiny"),
        "fills the image": _truth(whole, [0], classes, kind, "whole"),
        "only ignored": _truth(whole, [0], classes, kind, "ignored", ignored=True),
        "twice the same": _truth(torch.cat([tiny, tiny]), [0, 1], classes, kind, "twins"),
    }


def _truth(
    boxes: Tensor, labels: Sequence[int], classes: int, kind: BoxKind, name: str, ignored: bool = False
) -> Targets:
    if kind == "obb":
        boxes = hbb_to_obb(boxes)
        boxes = le90(torch.cat([boxes[:, :4], boxes[:, 4:] + 0.4], 1))
    flags = torch.full((len(boxes),), ignored)
    return Targets(boxes, torch.tensor(labels, dtype=torch.int64) % classes, flags, name)


def refusal(call: Callable[[], object], what: str) -> SkystillError | None:
    """The SkystillError by which `call` refuses, if it does. AssertionError for any other, or for several lines."""
    try:
        call()
        return None
    except SkystillError as error:
        found = error
    except Exception as error:
        raise AssertionError(f"{what}: refuse it with a SkystillError, not {type(error).__name__}: {error}") from error
    assert str(found).strip(), f"{what}: the refusal says nothing"
    assert "\n" not in str(found), f"{what}: the refusal has several lines: {found}"
    return found


def must_refuse(call: Callable[[], object], what: str) -> None:
    """AssertionError unless `call` refuses, in one line."""
    assert refusal(call, what) is not None, f"{what}: it was not refused"


def total(terms: dict[str, Tensor]) -> Tensor:
    """Their sum, a scalar."""
    return torch.stack([term.float() for term in terms.values()]).sum()


def check_terms(terms: dict[str, Tensor], where: str) -> None:
    """Every term is a finite scalar."""
    for name, value in terms.items():
        assert isinstance(name, str), f"{where}: the term {name!r} is not named by a string"
        assert isinstance(value, Tensor), f"{where}: {name} is a {type(value).__name__}, not a tensor"
        assert value.shape == (), f"{where}: {name} has shape {tuple(value.shape)}, not that of a scalar"
        assert value.isfinite(), f"{where}: {name} is {float(value)}"

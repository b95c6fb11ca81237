"""From weights to ONNX: one file that runs without PyTorch, and only if it detects the same."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import skystill
from skystill.data.images import find_images, read_image, to_bands
from skystill.deployment.inputs import pad, padded_shape, to_unit
from skystill.deployment.padding import with_constant_padding
from skystill.deployment.parity import check_parity
from skystill.deployment.runtime import HEADER_KEY, OnnxDetector, file_header, own_score
from skystill.detectors.base import Detector
from skystill.detectors.weights import load
from skystill.errors import ConfigError, WeightsError
from skystill.files import whole_file

_PROOF_IMAGES = 8
_PROOF_SIDE = 1024  # larger images are cut for the comparison, so that it takes seconds


def export_onnx(
    weights: str | Path,
    out: str | Path | None = None,
    size: tuple[int, int] | None = None,
    images: str | Path | None = None,
) -> Path:
    """Writes an ONNX file of the detector, after its detections were found equal to PyTorch's (`check_parity`).

    weights: .safetensors. out: where to write, by default beside the weights. size: the one (height, width) in pixels
    that the file will take, for runtimes that want fixed shapes and for SSD; None lets it take any multiples of the
    detector's `multiple`. The batch is free in both cases. images: a folder, file or pattern for the comparison, else
    synthetic scenes.

    The graph takes `images` (B, C, H, W) in 0..1 and gives `scores` (B, N, K) and `boxes` (B, N, 4|5), before NMS.
    Classes, thresholds, the score to keep detections from and the result of the comparison stand in the file's
    metadata, so it needs no other file.
    Raises ConfigError when the detector cannot be exported or detects differently; then no file is left.
    """
    weights = Path(weights)
    if weights.suffix == ".onnx":
        raise ConfigError(f"{weights}: is exported already. Give the .safetensors file that it was made from.")
    target = Path(out) if out is not None else weights.with_suffix(".onnx")
    if target.suffix != ".onnx":
        raise ConfigError(f"{target}: an exported file must end in .onnx. Change --out.")
    detector = load(weights)
    if detector.unexportable:
        raise ConfigError(
            f"{weights}: cannot be exported, because {detector.unexportable}. Let it teach a one-stage student, e.g. "
            "gfl_mnv3s or tv_ssdlite, and export that."
        )
    if size is None and not detector.free_size:
        raise ConfigError(
            f"{weights}: its anchors grow with the image. Give --size '[HEIGHT, WIDTH]', as it was trained."
        )
    _check_size(size, detector.multiple)
    proof = list(proof_batches(detector, size, images))  # before the slow part, so that wrong input shows at once
    print(f"{weights}: following the network and comparing detections; this may take a minute", file=sys.stderr)
    model = to_onnx(detector, size)
    header = {**file_header(detector, size, skystill.__version__), "score": own_score(detector, weights)}
    _set_header(model, header)
    parity = check_parity(detector, OnnxDetector(model.SerializeToString()), proof)
    _set_header(model, {**header, "parity": parity.as_dict()})
    return _write(model.SerializeToString(), target)


class _Raw(nn.Module):
    """A detector whose forward is `raw`, because the exporter follows forward."""

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.detector.raw(images)


def to_onnx(detector: Detector, size: tuple[int, int] | None) -> Any:
    """The detector's `raw` as an onnx.ModelProto without header; `size` as in `export_onnx`.

    Errors: ConfigError when ONNX is not installed or cannot hold the detector.
    """
    try:
        import_module("onnx")
        import_module("onnxscript")
    except ImportError:
        raise ConfigError("export needs ONNX. Run `pip install 'skystill[deploy]'`.") from None
    multiple = detector.multiple
    height, width = size or (2 * multiple, 3 * multiple)
    example = torch.zeros(2, detector.in_chans, height, width)
    dims: dict[int, Any] = {0: torch.export.Dim("batch", min=1)}
    if size is None:
        # On a copy: the comparison that follows holds the constants against what timm computes.
        detector = with_constant_padding(detector.eval(), example)
        dims[2] = multiple * torch.export.Dim("rows", min=1)
        dims[3] = multiple * torch.export.Dim("columns", min=1)
    try:
        program = torch.onnx.export(
            _Raw(detector).eval(),
            (example,),
            dynamo=True,
            input_names=["images"],
            output_names=["scores", "boxes"],
            dynamic_shapes=(dims,),
            external_data=False,
            verbose=False,
        )
    except torch.onnx.OnnxExporterError as error:
        reason = " ".join(str(error.__cause__ or error).split())[:200]
        mend = "Give --size '[HEIGHT, WIDTH]'." if size is None else "Use only operators that ONNX has."
        raise ConfigError(f"the detector cannot be exported ({reason}). {mend}") from error
    assert program is not None
    return _without_traces(program.model_proto)


def proof_batches(detector: Detector, size: tuple[int, int] | None, images: str | Path | None) -> Iterator[Tensor]:
    """Batches (B, C, H, W) to compare on: each image alone, then two together, padded to one shape."""
    scenes = _from_files(detector, images) if images is not None else _synthetic(detector)
    limit = size or (_PROOF_SIDE, _PROOF_SIDE)
    scenes = [scene[:, : limit[0], : limit[1]] for scene in scenes]
    shapes = [padded_shape(scene, detector.multiple, size) for scene in scenes]
    for scene, shape in zip(scenes, shapes, strict=True):
        yield pad(scene, shape)[None]
    common = (max(h for h, _ in shapes), max(w for _, w in shapes))
    yield torch.stack([pad(scene, common) for scene in (*scenes, *scenes)[:2]])


def _from_files(detector: Detector, where: str | Path) -> list[Tensor]:
    paths = find_images(where)
    step = max(1, len(paths) // _PROOF_IMAGES)
    chosen = paths[::step][:_PROOF_IMAGES]
    bands = detector.in_chans
    return [to_unit(to_bands(read_image(path, bands=bands), bands, str(path))) for path in chosen]


def _synthetic(detector: Detector) -> list[Tensor]:
    from skystill.data.synthetic import render

    if detector.in_chans not in (1, 3):
        raise ConfigError(
            f"synthetic scenes have 3 bands, the detector takes {detector.in_chans}; give images with --images."
        )
    scenes = [torch.from_numpy(render(i, seed=0, size=512).image).movedim(-1, 0) for i in range(4)]
    scenes[1] = scenes[1][:, :, :384]  # sides that differ show when height and width are mixed up
    return [to_unit(to_bands(scene.contiguous(), detector.in_chans)) for scene in scenes]


def _check_size(size: tuple[int, int] | None, multiple: int) -> None:
    if size is not None and (min(size) < multiple or size[0] % multiple or size[1] % multiple):
        up = [max(1, -(-side // multiple)) * multiple for side in size]
        raise ConfigError(
            f"size {size[0]} {size[1]}: this detector takes multiples of {multiple}. Give --size '[{up[0]}, {up[1]}]'."
        )


def _set_header(model: Any, header: dict[str, Any]) -> None:
    import onnx

    onnx.helper.set_model_props(model, {HEADER_KEY: json.dumps(header)})


def _without_traces(model: Any) -> Any:
    """The model without the exporter's notes on each node: source code and paths of this machine."""
    for part in (model, model.graph, *model.graph.node, *model.graph.value_info, *model.graph.initializer):
        del part.metadata_props[:]
    for node in model.graph.node:
        node.doc_string = ""
    return model


def _write(data: bytes, target: Path) -> Path:
    try:
        with whole_file(target) as part:
            part.write_bytes(data)
    except OSError as error:
        raise WeightsError(f"{target}: cannot be written ({error.strerror}). Choose another folder.") from error
    return target

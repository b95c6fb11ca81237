import torch
from torchvision.ops import box_iou, distance_box_iou

from skystill.boxes import hbb


def test_area_and_center_of_plain_empty_and_inverted_boxes() -> None:
    boxes = torch.tensor([[1.0, 2.0, 4.0, 7.0], [5.0, 5.0, 5.0, 9.0], [4.0, 4.0, 1.0, 1.0]])
    assert hbb.area(boxes).tolist() == [15.0, 0.0, 0.0]
    assert hbb.center(boxes)[0].tolist() == [2.5, 4.5]
    assert hbb.area(torch.zeros(0, 4)).shape == (0,)


def test_clip_keeps_the_part_inside_and_leaves_no_area_outside() -> None:
    boxes = torch.tensor([[-5.0, -5.0, 10.0, 10.0], [15.0, 3.0, 30.0, 50.0], [40.0, 40.0, 50.0, 50.0]])
    clipped = hbb.clip(boxes, height=12, width=20)
    assert clipped[:2].tolist() == [[0.0, 0.0, 10.0, 10.0], [15.0, 3.0, 20.0, 12.0]]
    assert hbb.area(clipped)[2] == 0


def test_overlaps_agree_with_torchvision() -> None:
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(60, 2, generator=generator) * 50
    boxes = torch.cat([corner, corner + torch.rand(60, 2, generator=generator) * 30], 1)
    boxes[0, 2:] = boxes[0, :2]  # without area
    a, b = boxes[:40], boxes[40:]
    assert torch.allclose(hbb.pairwise_diou(a, b), distance_box_iou(a, b), atol=1e-5)
    assert torch.allclose(hbb.paired_iou(a[:20], b), box_iou(a[:20], b).diagonal(), atol=1e-6)
    assert torch.allclose(hbb.paired_iou(a[:, None], b), box_iou(a, b), atol=1e-6)


def test_scaled_boxes_keep_their_centres() -> None:
    boxes = torch.tensor([[0.0, 10.0, 8.0, 14.0]])
    assert hbb.scaled(boxes, 4).tolist() == [[-12.0, 4.0, 20.0, 20.0]]
    assert torch.equal(hbb.scaled(hbb.scaled(boxes, 8), 1 / 8), boxes)

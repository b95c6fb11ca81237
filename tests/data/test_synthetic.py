import numpy as np

from skystill.data.synthetic import CLASSES, render


def test_a_scene_is_an_image_with_truth() -> None:
    scene = render(3, seed=1)
    m = len(scene.labels)
    assert scene.image.shape == (256, 256, 3)
    assert scene.image.dtype == np.uint8
    assert scene.corners.shape == (m, 8)
    assert scene.boxes.shape == (m, 4)
    assert scene.labels.max() < len(CLASSES)
    again = render(3, seed=1)
    assert np.array_equal(scene.image, again.image)

import torch

from skystill.distillation.adapters import adapter


def test_an_adapter_of_equal_widths_begins_as_the_identity() -> None:
    x = torch.randn(2, 6, 4, 4)
    assert torch.equal(adapter(6, 6)(x), x)
    assert adapter(6, 8)(x).shape == (2, 8, 4, 4)

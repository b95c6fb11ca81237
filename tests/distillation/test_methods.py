import pytest

from skystill.distillation.ltd import LTD, LTDPlus, LTDReleased
from skystill.distillation.methods import METHODS, make_method
from skystill.errors import ConfigError


def test_methods_are_made_by_name_with_their_settings() -> None:
    method = make_method("ltd", {"binding": "explicit", "loc": 0.5, "fade": [0.1, 0.2]})
    assert isinstance(method, LTD)
    assert (method.binding, method.loc, method.fade) == ("explicit", 0.5, (0.1, 0.2))
    assert isinstance(make_method("ltd_released"), LTDReleased)
    plus = make_method("ltd_plus", {"loc": 0.2})
    assert isinstance(plus, LTDPlus)
    assert (plus.binding, plus.loc, plus.background) == ("related", 0.2, 1.0)


def test_every_method_can_be_made_without_settings() -> None:
    for name, kind in METHODS.items():
        assert type(make_method(name)) is kind


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lttd", None, "'lttd' is unknown; the methods are ltd"),
        ("ltd", {"warm_up": 0.1}, "no setting 'warm_up'; its settings are .*warmup"),
        ("ltd", {"binding": "tight"}, "'tight' is unknown; choose fusion, lic"),
        ("ltd", {"regions": "one"}, "'one' are unknown; choose disentangled or shared"),
        ("ltd_released", {"binding": "lic"}, "no setting 'binding'"),
        ("ltd_plus", {"binding": "lic"}, "no setting 'binding'; its settings are ccd"),
    ],
)
def test_unknown_names_are_told_with_the_known_ones(
    name: str, settings: dict[str, object] | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        make_method(name, settings)
    assert "\n" not in str(caught.value)

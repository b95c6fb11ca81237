import inspect

import pytest

from skystill.distillation.ltd import LTD, LTDPlus, LTDReleased
from skystill.distillation.methods import METHODS, make_method
from skystill.distillation.peers.mgd import MGD
from skystill.distillation.settings import Divisor, checked
from skystill.errors import ConfigError


def test_methods_are_made_by_name_with_their_settings() -> None:
    method = make_method("ltd", {"binding": "explicit", "loc": 0.5, "fade": [0.1, 0.2]})
    assert isinstance(method, LTD)
    assert (method.ccd.binding, method.tasd.loc, method.ccd.fade) == ("explicit", 0.5, (0.1, 0.2))
    assert isinstance(make_method("ltd_released"), LTDReleased)
    plus = make_method("ltd_plus", {"loc": 0.2})
    assert isinstance(plus, LTDPlus)
    assert (plus.ccd.binding, plus.tasd.loc, plus.tasd.background) == ("related", 0.2, 1.0)


def test_every_method_can_be_made_without_settings() -> None:
    for name, kind in METHODS.items():
        assert type(make_method(name)) is kind


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("lttd", None, "'lttd' is unknown; the methods are ltd"),
        ("ltd", {"warm_up": 0.1}, "no setting 'warm_up'; its settings are .*warmup"),
        ("ltd", {"binding": "tight"}, "method ltd: binding is 'tight'; choose fusion, lic"),
        ("ltd", {"regions": "one"}, "method ltd: regions is 'one'; choose disentangled, shared"),
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


def test_numbers_that_yaml_reads_as_text_are_numbers() -> None:
    method = make_method("mgd", {"weight": "2e-4"})
    assert isinstance(method, MGD)
    assert method.weight == 2e-4
    assert make_method("ltd", {"places": 64.0}).ccd.places == 64


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("ltd", {"ccd": -1}, "method ltd: ccd is -1. Give a number of at least 0."),
        ("ltd", {"ccd": "much"}, "method ltd: ccd is 'much'. Give a number."),
        ("ltd", {"sem": True}, "method ltd: sem is True. Give a number."),
        ("ltd", {"loc": float("nan")}, "method ltd: loc is nan. Give a number."),
        ("ltd", {"places": 0}, "method ltd: places is 0. Give a whole number of at least 1."),
        ("ltd", {"width": 8.5}, "method ltd: width is 8.5. Give a whole number of at least 1."),
        ("ltd_plus", {"finds": 2}, "method ltd_plus: finds is 2. Give a number from 0 to 1."),
        ("ltd", {"fade": [0.6, 3]}, "method ltd: fade is 3. Give a number from 0 to 1."),
        ("ltd", {"sure": 1.5}, "method ltd: sure is 1.5. Give a number from 0 to 1."),
        ("ltd", {"fade": [0.6]}, "method ltd: fade is [0.6]. Give two numbers, from and to."),
        ("ltd", {"fade": 0.6}, "method ltd: fade is 0.6. Give two numbers, from and to."),
        ("ltd", {"fade": [0.6, 0.3]}, "method ltd: fade runs from 0.6 to 0.3. Give the smaller number first."),
        ("cwd", {"tau": 0}, "method cwd: tau is 0. Give a number above 0."),
        ("ltd", {"binding": [1]}, "method ltd: binding is [1]; choose fusion, lic, explicit, related, both."),
    ],
)
def test_values_that_make_no_sense_are_told(name: str, settings: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_method(name, settings)
    assert str(caught.value) == message


def test_every_setting_of_every_method_has_a_type_that_is_checked() -> None:
    for name, kind in METHODS.items():
        defaults = {k: p.default for k, p in inspect.signature(kind.__init__).parameters.items() if k != "self"}
        assert checked(name, kind, defaults) == defaults


def test_settings_of_other_types_are_left_to_the_method() -> None:
    class Own:
        def __init__(self, names: list[str], deep: bool = False, note: str | None = None) -> None: ...

    assert checked("own", Own, {"names": ["a"], "deep": True, "note": None}) == {
        "names": ("a",),
        "deep": True,
        "note": None,
    }
    with pytest.raises(ConfigError, match="method own: deep is 'yes'; choose True, False"):
        checked("own", Own, {"deep": "yes"})


def test_plain_numbers_take_any_and_annotated_ones_their_bounds() -> None:
    class Own:
        def __init__(
            self, level: int = -1, low: float = 5.0, tau: Divisor = 1.0, names: tuple[str, str] = ("a", "b")
        ) -> None: ...

    any_number = {"level": -2, "low": 7.5, "names": ("c", "d")}
    assert checked("own", Own, any_number) == any_number
    with pytest.raises(ConfigError, match=r"own: level is -2\.5\. Give a whole number\."):
        checked("own", Own, {"level": -2.5})
    with pytest.raises(ConfigError, match=r"own: tau is 0\. Give a number above 0\."):
        checked("own", Own, {"tau": 0})

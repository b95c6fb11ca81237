from pathlib import Path

import numpy as np
import pytest

from skystill.data.annotations import Annotations, Record
from skystill.data.split import split
from skystill.errors import ConfigError, DataError

THREE = {"train": 0.7, "val": 0.1, "test": 0.2}


def make(images: int = 200, flights: int = 40, seed: int = 0) -> Annotations:
    """Images of several flights; class 1 is rare and sits in few images."""
    generator = np.random.default_rng(seed)
    records = []
    for i in range(images):
        m = int(generator.integers(0, 8))
        labels = (generator.random(m) < 0.05).astype(np.int64)
        flags = np.zeros(m, dtype=np.bool_)
        name = Path(f"flight{i % flights}_{i}.jpg")
        records.append(Record(name, 64, 64, np.tile([1.0, 1, 9, 9], (m, 1)), labels, flags, flags, str(i)))
    return Annotations(("car", "plane"), records)


def names(part: Annotations) -> set[str]:
    return {record.image.name for record in part.records}


@pytest.mark.parametrize("group", [None, r"^(flight\d+)_", lambda record: record.image.name.split("_")[0]])
def test_parts_are_whole_disjoint_and_near_their_shares(group: object) -> None:
    data = make()
    parts = split(data, THREE, group)  # type: ignore[arg-type]
    assert list(parts) == list(THREE)
    assert set.union(*map(names, parts.values())) == names(data)
    assert sum(map(len, parts.values())) == len(data)
    rare = sum(int((r.labels == 1).sum()) for r in data.records)
    for name, part in parts.items():
        assert len(part) / len(data) == pytest.approx(THREE[name], abs=0.03)
        inside = sum(int((r.labels == 1).sum()) for r in part.records)
        assert inside / rare == pytest.approx(THREE[name], abs=0.07)


def test_a_flight_stays_together() -> None:
    parts = split(make(), THREE, r"^(flight\d+)_")
    flights = [{name.split("_")[0] for name in names(part)} for part in parts.values()]
    assert not flights[0] & flights[1] | flights[0] & flights[2] | flights[1] & flights[2]


def test_one_seed_gives_one_split_whatever_the_order() -> None:
    data, mixed = make(), make()
    mixed.records.reverse()
    first, second = split(data, THREE, seed=3), split(mixed, THREE, seed=3)
    assert [names(part) for part in first.values()] == [names(part) for part in second.values()]
    other = split(data, THREE, seed=4)
    assert names(first["val"]) != names(other["val"])


def test_as_many_groups_as_parts_fill_every_part() -> None:
    data = make(images=30, flights=3)
    assert all(len(part) == 10 for part in split(data, {"a": 0.9, "b": 0.05, "c": 0.05}, r"^(flight\d+)_").values())


def test_images_without_any_object_split_too() -> None:
    data = make(50)
    for record in data.records:
        record.boxes, record.labels = record.boxes[:0], record.labels[:0]
    assert len(split(data, {"a": 0.5, "b": 0.5})["a"]) == 25


def test_faults_are_named() -> None:
    data = make(10)
    for fractions in ({"a": 0.5, "b": 0.4}, {"a": 1.0}, {"a": 1.5, "b": -0.5}, {}):
        with pytest.raises(ConfigError, match="sum 1"):
            split(data, fractions)
    with pytest.raises(DataError, match=r"image flight0_0.jpg does not match"):
        split(data, THREE, r"(\d{4})")
    with pytest.raises(ConfigError, match="no group in parentheses"):
        split(data, THREE, r"\d")
    with pytest.raises(ConfigError, match="no regular expression"):
        split(data, THREE, r"(")
    with pytest.raises(DataError, match=r"2 group\(s\) cannot fill 3 parts"):
        split(make(10, flights=2), THREE, r"^(flight\d+)_")

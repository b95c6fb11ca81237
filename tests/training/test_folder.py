"""What a run may go on with."""

from pathlib import Path
from zipfile import ZipFile

import pytest

from skystill.errors import ConfigError
from skystill.training.folder import LAST, run_folder
from skystill.training.recipe import Recipe, TeacherConfig
from skystill.training.taught import TEACHERS, file_digest, note_teachers


def recipe(*teachers: Path) -> Recipe:
    return Recipe(teacher=TeacherConfig([str(path) for path in teachers]), out=str(teachers[0].parent / "run"))


def begun(*teachers: Path) -> Path:
    """The folder of a run that was cut off after an epoch."""
    made = recipe(*teachers)
    folder = Path(str(made.out))
    made.write(folder / "recipe.yaml")
    note_teachers(folder, [{"weights": str(path), "digest": file_digest(path)} for path in teachers])
    (folder / LAST).parent.mkdir(parents=True)
    with ZipFile(folder / LAST, "w") as checkpoint:
        checkpoint.writestr("data.pkl", "")
    return folder


@pytest.fixture
def teacher(tmp_path: Path) -> Path:
    (tmp_path / "a.safetensors").write_bytes(b"weights")
    return tmp_path / "a.safetensors"


def test_a_teacher_may_move_but_not_change(teacher: Path) -> None:
    folder = begun(teacher)
    moved = teacher.rename(teacher.with_name("b.safetensors"))
    assert run_folder(recipe(moved), "ltd", resume=True) == folder
    run_folder(recipe(teacher), "ltd", resume=True)  # it is gone: who opens it says so
    moved.write_bytes(b"other weights")
    with pytest.raises(ConfigError, match=r"run: goes on as it began, and .*b\.safetensors is not the teacher that it"):
        run_folder(recipe(moved), "ltd", resume=True)
    run_folder(recipe(moved), "alone", resume=True)
    (folder / TEACHERS).unlink()  # a run of an older version: not known is not different
    run_folder(recipe(moved), "ltd", resume=True)


@pytest.mark.parametrize("change", ["more", "less"])
def test_as_many_teachers_go_on_as_began(teacher: Path, change: str) -> None:
    one, two = recipe(teacher), recipe(teacher, teacher)
    begun(*([teacher] if change == "more" else [teacher, teacher]))
    with pytest.raises(ConfigError, match=r"goes on as it began, with teacher\.weights \[.*, and now that is \["):
        run_folder(two if change == "more" else one, "ltd", resume=True)

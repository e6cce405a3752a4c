"""Tasks are found by what their modules declare, and each knows the models that can do it."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from filmgate import tasks
from filmgate.errors import BadSetting
from filmgate.models.registry import find_family
from filmgate.tasks.interpolate import Interpolate
from filmgate.tasks.job_config import task_from
from filmgate.tasks.registry import find_task_name, list_summaries, load_tasks
from filmgate.tasks.upscale import Upscale

ANOTHER = '''
from dataclasses import dataclass
from fractions import Fraction

from filmgate.core.job import Task


@dataclass(frozen=True)
class Anything:
    """Do nothing."""

    amount: int = 1
    time_scale = Fraction(1)

    def stages(self, spec, models=None):
        return ()

    def timeline(self, frames):
        yield from frames


class Other:
    def timeline(self, frames): ...


TASK: type[Task] = Anything
'''


@pytest.fixture
def added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A file more in the folder of tasks, and nothing else."""
    (tmp_path / "do_nothing.py").write_text(ANOTHER)
    monkeypatch.setattr(tasks, "__path__", [*tasks.__path__, str(tmp_path)])
    load_tasks.cache_clear()
    list_summaries.cache_clear()
    yield
    load_tasks.cache_clear()
    list_summaries.cache_clear()
    sys.modules.pop("filmgate.tasks.do_nothing", None)
    vars(tasks).pop("do_nothing", None)


@pytest.mark.usefixtures("added")
def test_file_that_declares_a_task_is_all_that_a_task_needs() -> None:
    """A task was any class of the module's name that had a `timeline`."""
    cls = load_tasks()["do_nothing"]
    assert cls.__name__ == "Anything"
    assert find_task_name(cls) == "do_nothing"
    assert isinstance(task_from({"task": "do_nothing", "amount": 3}), cls)


@pytest.mark.usefixtures("added")
@pytest.mark.parametrize("header", ["class Anything:", "class Anything(\n    object\n):"])
def test_summaries_are_those_of_the_tasks(header: str, tmp_path: Path) -> None:
    """They are read from the source where its form is known, and else from the class."""
    (tmp_path / "do_nothing.py").write_text(ANOTHER.replace("class Anything:", header))
    summaries = list_summaries()
    assert ("filmgate.tasks.do_nothing" in sys.modules) == ("\n" in header)
    documents = {name: str(task.__doc__) for name, task in load_tasks().items()}
    assert summaries == {name: text.partition("\n\n")[0] for name, text in documents.items()}
    assert summaries["do_nothing"] == "Do nothing."


def test_modules_without_a_task_are_none() -> None:
    assert load_tasks()["interpolate"] is Interpolate
    assert load_tasks()["upscale"] is Upscale
    assert not {"settings", "registry", "model_task", "job_file"} & load_tasks().keys()


@pytest.mark.parametrize("cls", [Interpolate, Upscale])
def test_models_of_a_task_are_those_that_can_do_it(cls: type[Interpolate] | type[Upscale]) -> None:
    for name in cls.list_models():
        assert cls.find_model(name) is find_family(name)
    with pytest.raises(BadSetting, match="the model raft estimates optical flow for other models"):
        cls.find_model("raft")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": 3}, "scale is 3: pass 2 or 4, which the model compact has"),
        ({"scale": 2, "model": "diffvsr"}, "scale is 2: pass 4, which the model diffvsr has"),
        ({"scale": 0, "model": "image"}, "scale is 0: pass 1 or more"),
        ({"model": "dis"}, "the model dis is for interpolate: upscale has compact, "),
        ({"model": "x" * 5000}, "there is no model 'xxx"),
        ({"model": ""}, "model is '', which is not the name of a model"),
    ],
)
def test_scale_and_model_are_checked_when_the_task_is_made(
    settings: dict[str, object], message: str
) -> None:
    with pytest.raises(BadSetting, match=message) as caught:
        Upscale(**settings)  # type: ignore[arg-type]
    assert len(str(caught.value)) < 400

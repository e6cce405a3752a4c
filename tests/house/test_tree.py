"""The repository: sizes, module docstrings, pinned versions, and the table of errors."""

import ast
import inspect
import re
import tomllib

import pytest
from hypothesis import settings
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from filmgate import errors
from tests.house.tree import ROOT, list_files, parse_files
from tests.house.weigh import find_violations

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PINS = {
    canonicalize_name(pin.name): pin.specifier
    for line in (ROOT / "constraints.txt").read_text().splitlines()
    if line.strip() and not line.startswith("#")
    for pin in [Requirement(line)]
}
ERRORS = [
    kind
    for kind in vars(errors).values()
    if isinstance(kind, type) and issubclass(kind, errors.FilmgateError)
]


def test_nothing_is_over_the_limits() -> None:
    assert not find_violations()


def test_each_file_has_a_module_docstring() -> None:
    for name, tree in parse_files().items():
        assert ast.get_docstring(tree), f"{name} has no module docstring"


def test_constraints_pin_every_dependency_inside_its_range() -> None:
    dependencies = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    for dependency in map(Requirement, dependencies):
        pin = PINS.get(canonicalize_name(dependency.name))
        assert pin is not None, f"constraints.txt has no {dependency.name}"
        (version,) = (specifier.version for specifier in pin)
        assert version in dependency.specifier, f"{dependency} excludes the pinned {version}"


def test_constraints_are_exact_and_list_torchvision_after_torch() -> None:
    """They work only as a pair: another torchvision fails at import on the user's machine."""
    assert all(re.fullmatch(r"==[\w.]+", str(pin)) for pin in PINS.values())
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("torch=="))
    assert lines[at + 1].startswith("torchvision==")


def test_no_file_names_a_package_index_or_a_machine() -> None:
    places = (
        r"pypi\.org", r"download\.pytorch\.org/whl", r"index[-_]url\b", r"find[-_]links\b",
        r"/(?<![\w.]/)(work|root)/",
    )  # fmt: skip
    for path in list_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # an image
        for place in places:  # one after the other: all at once take five times as long
            match = re.search(place, text)
            assert not match, f"{path.relative_to(ROOT)} contains {match}"


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_the_documented_tree_of_errors_is_correct(kind: type[errors.FilmgateError]) -> None:
    drawing = (errors.__doc__ or "").splitlines()
    line = next((line for line in drawing if re.search(rf"\b{kind.__name__}\b", line)), "")
    depth = (re.search(r"\w", line) or pytest.fail(f"{kind.__name__} is not in the tree")).start()
    assert depth == 4 * (kind.__mro__.index(errors.FilmgateError) + 1)
    code = re.search(rf"{kind.__name__} +(\d+)  ", line)
    own = int(code[1]) if code else next(iter(kind.__bases__)).__dict__["exit_code"]
    assert kind.exit_code == own
    assert inspect.getdoc(kind)


def test_the_documented_exit_codes_are_correct() -> None:
    listing = (errors.__doc__ or "").rpartition("Exit codes: ")[2]
    assert [int(n) for n in re.findall(r"\d+", listing)] == list(map(int, errors.Exit))


def test_profiles_of_the_makefile_are_known() -> None:
    """`make faults-long` named one that was not: none of its tests ran."""
    names = re.findall(r"FILMGATE_PROFILE=(\w+)", (ROOT / "Makefile").read_text())
    assert "faults" in names
    for name in names:
        settings.get_profile(name)

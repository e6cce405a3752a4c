"""What stands in the tree: sizes, first lines, errors, versions, and what must not be there."""

import ast
import inspect
import re
import tomllib

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from filmgate import errors
from tests.house.tree import ROOT, code, files
from tests.house.weigh import overweight

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
    assert not overweight()


def test_each_file_says_first_what_it_is() -> None:
    for name, tree in code().items():
        assert ast.get_docstring(tree), f"{name} does not begin with a docstring"


def test_constraints_pin_every_dependency_exactly_and_inside_its_range() -> None:
    asked = [*PROJECT["project"]["dependencies"], *PROJECT["dependency-groups"]["dev"]]
    for need in map(Requirement, asked):
        pin = PINS.get(canonicalize_name(need.name))
        assert pin is not None, f"constraints.txt has no {need.name}"
        (version,) = (only.version for only in pin)
        assert version in need.specifier, f"{need} does not take the pinned {version}"


def test_constraints_are_exact_versions_and_hold_torch_and_torchvision_together() -> None:
    """They only work as a pair; another torchvision fails at import, on the user's machine."""
    assert all(re.fullmatch(r"==[\w.]+", str(pin)) for pin in PINS.values())
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    at = next(i for i, line in enumerate(lines) if line.startswith("torch=="))
    assert lines[at + 1].startswith("torchvision==")


def test_no_file_says_where_packages_come_from_or_names_a_machine() -> None:
    places = re.compile(
        r"pypi\.org|download\.pytorch\.org/whl|index[-_]url\b|find[-_]links\b|(?<![\w.])/(work|root)/"
    )
    for path in files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue  # a picture
        found = places.search(text)
        assert not found, f"{path.relative_to(ROOT)} names {found}"


@pytest.mark.parametrize("kind", ERRORS, ids=lambda kind: kind.__name__)
def test_the_tree_of_errors_is_drawn_as_it_is(kind: type[errors.FilmgateError]) -> None:
    drawn = (errors.__doc__ or "").splitlines()
    line = next((line for line in drawn if re.search(rf"\b{kind.__name__}\b", line)), "")
    depth = (re.search(r"\w", line) or pytest.fail(f"{kind.__name__} is not drawn")).start()
    assert depth == 4 * (kind.__mro__.index(errors.FilmgateError) + 1)
    code = re.search(rf"{kind.__name__} +(\d+)  ", line)
    own = int(code[1]) if code else next(iter(kind.__bases__)).__dict__["exit_code"]
    assert kind.exit_code == own
    assert inspect.getdoc(kind)


def test_the_drawn_exit_codes_are_the_ones_there_are() -> None:
    said = (errors.__doc__ or "").rpartition("Exit codes: ")[2]
    assert [int(n) for n in re.findall(r"\d+", said)] == [int(code) for code in errors.Exit]

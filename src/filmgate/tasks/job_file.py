"""Read a job file: a small TOML file, whose size and nesting are checked."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filmgate.errors import BadInput, BadSetting
from filmgate.storage.file_kind import check_input_file

# The time to parse a key of many parts grows with the square of its length.
MAX_BYTES, MAX_LINE = 65_536, 5_000
MAX_DEPTH = 8  # tables in tables
MAX_INTEGER = 2**63


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a job file. Raises BadSetting."""
    import tomllib

    try:
        check_input_file(path, "a job file")
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        _check_size(path, data)
        form = tomllib.loads(data.decode())
    except BadInput as error:
        raise BadSetting(str(error)) from error
    except OSError as error:
        raise BadSetting(f"{path} cannot be read: {error.strerror}; pass a job file") from error
    except RecursionError as error:
        raise BadSetting(_describe_depth(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problem = str(error)[:200]
        raise BadSetting(f"{path} is not TOML: {problem}; see examples/job.toml") from error
    except ValueError as error:  # Python reads integers of at most 4,300 digits
        raise BadSetting(f"{path} has an integer of thousands of digits: pass one of less "
                         "than 64 bits") from error  # fmt: skip
    _check_values(path, form)
    return form


def _check_size(path: Path, data: bytes) -> None:
    """Raise BadSetting for a file that is too large to be a job file, before it is parsed."""
    if len(data) > MAX_BYTES:
        raise BadSetting(f"{path} has more than {MAX_BYTES} bytes: pass a job file, such as "
                         "examples/job.toml")  # fmt: skip
    for number, line in enumerate(data.split(b"\n"), 1):
        if len(line) > MAX_LINE:
            raise BadSetting(f"line {number} of {path} has {len(line)} bytes: a line of a job file "
                             f"has at most {MAX_LINE}, so split it")  # fmt: skip


def _check_values(path: Path, form: Mapping[str, Any]) -> None:
    """Raise BadSetting for values nested so deep, or integers so large, that no setting has."""
    level: list[Any] = [form]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                below += value.values()
            elif isinstance(value, list):
                below += value
            elif isinstance(value, int) and abs(value) >= MAX_INTEGER:
                raise BadSetting(f"{path} has an integer of {value.bit_length()} bits: pass one "
                                 "of less than 64")  # fmt: skip
        level = below
    if level:
        raise BadSetting(_describe_depth(path))


def _describe_depth(path: Path) -> str:
    return (f"{path} has lists or tables more than {MAX_DEPTH} deep: a job has input, output, seed "
            "and [[tasks]], see examples/job.toml")  # fmt: skip

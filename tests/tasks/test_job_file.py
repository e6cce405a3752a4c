"""Job files that no user writes are refused quickly, whatever a TOML reader makes of them."""

import time
from pathlib import Path

import pytest

from filmgate.cli.main import main
from filmgate.errors import BadSetting, Exit
from filmgate.tasks.job_file import MAX_BYTES, read_toml

HOSTILE: dict[str, tuple[str | bytes, str]] = {
    "brackets in a line": (f"x = {'[' * 5000}{']' * 5000}", "has 10004 bytes: a line"),
    "brackets in lines": ("x = " + "[\n" * 5000 + "]\n" * 5000, "more than 8 deep"),
    "tables in tables": ("x = " + "{a=" * 900 + "1" + "}" * 900, "more than 8 deep"),
    "a long dotted key": ("a." * 20_000 + "a = 1", "has 40005 bytes: a line"),
    "a dotted key": ("a." * 2_000 + "a = 1", "more than 8 deep"),
    "a dotted heading": (f"[{'a.' * 2_000}a]", "more than 8 deep"),
    "digits": (f"seed = {'9' * 4900}", "an integer of thousands of digits"),
    "hexadecimal digits": (f"seed = 0x{'f' * 4900}", "an integer of 19600 bits"),
    "digits in a list": (f"seed = [1, [{2**64}]]", "an integer of 65 bits"),
    "a large file": ("#\n" * MAX_BYTES, f"has more than {MAX_BYTES} bytes"),
    "no UTF-8": (b'input = "\xff"', "is not TOML"),
    "a zero byte in a name": ('input = "a\\u0000b"\noutput = "o.mp4"', "cannot contain a zero"),
    "a long name": (f'input = "{"k" * 4000}"\noutput = "o.mp4"', "a name of 4000 bytes"),
    "a long setting": (f'"{"k" * 4000}" = 1', "a job has no setting 'kkk"),
    "an infinite seed": ('seed = 1e400\ninput = "a.mp4"\noutput = "b.mp4"', "seed is inf"),
    "a factor of a gigabyte": (
        (
            'input = "a.mp4"\noutput = "b.mp4"\n[[tasks]]\n'
            'task = "interpolate"\nfactor = "1e999999999"'
        ),
        "has too many digits",
    ),
    "a codec of other programs": (
        'input = "a.mp4"\noutput = {path = "b.mp4", codec = "h265"}',
        "codec is 'h265': it is called hevc here",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_job_file_is_refused_at_once(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, message = HOSTILE[name]
    path = tmp_path / "job.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    start = time.process_time()
    assert main(["run", str(path)]) == Exit.USER
    assert time.process_time() - start < 3
    error = capsys.readouterr().err
    assert message in error
    assert len(error) < 900


@pytest.mark.slow
def test_slowest_file_within_the_limits_is_read_in_bounded_time(tmp_path: Path) -> None:
    lines = [f"[{'a.' * 2_000}a]", *(f"c{k} = 1" for k in range(6_000))]
    (tmp_path / "job.toml").write_text("\n".join(lines)[: MAX_BYTES - 100])
    start = time.process_time()
    with pytest.raises(BadSetting, match=r"more than 8 deep|is not TOML"):
        read_toml(tmp_path / "job.toml")
    assert time.process_time() - start < 20

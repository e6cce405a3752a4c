"""The memory of Stream-DiffVSR: predicted for GPUs, constant for any length of video."""

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch

from filmgate.cli.main import main
from filmgate.core.frame import Frame
from filmgate.core.values import count_bytes
from filmgate.device.tensor_memory import LiveMemory
from filmgate.errors import Exit
from tests import videos
from tests.golden.fill import uni
from tests.models.families.test_diffvsr_stage import stage, video


@pytest.mark.slow
@pytest.mark.parametrize(
    ("size", "volume", "gb"),
    [((180, 320), 2, 2.7), ((180, 320), 0, 2.2), ((512, 704), 2, 5.4), ((720, 1280), 2, 13.3)],
)
def test_the_predicted_peak_with_flow_at_full_size(
    size: tuple[int, int], volume: int, gb: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """float16, RAFT among it: with its volume up to 2 GiB, or by look-up as with low memory.

    Wanted at 512x704 were 6.1 GB.
    """
    from filmgate.models.families.diffvsr import memory
    from filmgate.models.families.raft import net

    monkeypatch.setattr(net, "GPU_VOLUME_BYTES", volume << 30)
    (row,) = memory.predict_ours(size, torch.float16, "raft_large", [Fraction(1)])
    assert row.peak < gb * 1e9
    assert row.parts["weights"] > 1.37e9, "472, 208, 5 and 2 million numbers of two bytes"
    if size == (180, 320):
        (more,) = memory.predict_ours(size, torch.float16, "raft_large", [Fraction(1)], frames=6)
        assert more.parts == row.parts, "from the second frame on nothing is added"


@pytest.mark.slow
def test_memory_is_the_same_after_two_thousand_frames() -> None:
    """The state and the live bytes of a frame, flow given; RAFT's part of it is above."""
    made, peaks = stage(steps=1)[0], []
    some = {"flow_prev": uni("flow", (2, 4, 4), -2, 2)}
    first = Frame(0, Fraction(0), Fraction(1, 25), uni("image", (3, 4, 4), 0, 1), some)
    with torch.inference_mode():
        state = made.start(video().spec, first.position)
        for n in range(2_000):  # to the byte: what each frame adds is seen after a few
            frame = replace(first, index=n)
            if n + 1 not in (10, 2_000):
                state, _ = made.step(state, [frame])
                continue
            with LiveMemory() as live:
                live.add(*state)
                state, _ = made.step(state, [frame])
            peaks.append((live.peak, count_bytes(state)))
    assert peaks[0] == peaks[1]


@pytest.fixture(scope="module")
def plan_json(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The JSON of `plan` for a video of 704x512 and a GPU of 24 GB, without weights."""
    folder = tmp_path_factory.mktemp("plan")
    source = videos.make(videos.Video(frames=3, size=(704, 512)), folder / "in.mp4")
    patch = pytest.MonkeyPatch()
    patch.setenv("FILMGATE_MODELS", str(folder))
    words = ["upscale", str(source), "--scale", "4", "--model", "diffvsr", "--vram", "24GB"]
    try:
        reported: list[str] = []
        patch.setattr("builtins.print", lambda text="", **_: reported.append(text))
        assert main(["plan", *words, "--json"]) == Exit.DONE
    finally:
        patch.undo()
    found: dict[str, Any] = json.loads(reported[-1])
    return found


@pytest.mark.slow
def test_the_plan_shows_without_weights_what_fits_a_gpu(plan_json: dict[str, Any]) -> None:
    """A user reported 18 GB at batch 1, which fits 24 GB; batch 2 and full-size flow do not.

    The user ran float32; the allocator reserved a fifth to two fifths more.
    """
    rows = {(r["way"], r["dtype"], r["batch"], r["flow_scale"]): r
            for r in plan_json["predicted_device"]}  # fmt: skip
    scales = ("1", "1/2", "1/4", "1/8")
    for scale in scales:
        assert rows["ours", "float16", None, scale]["peak_bytes"] < 5.4e9
        assert rows["ours", "float32", None, scale]["fits"]
        plain = [rows["plain", "float32", batch, scale] for batch in (1, 2, 4)]
        if scale == "1":
            assert [(row["fits"], row["most"]) for row in plain] == [(False, "flow")] * 3
            continue
        assert 1.2 * plain[0]["peak_bytes"] < 18e9 < 1.4 * plain[0]["peak_bytes"]
        assert [row["fits"] for row in plain] == [True, False, False]
        assert plain[1]["most"] == "nets"
        half = [rows["plain", "float16", batch, scale] for batch in (1, 2, 4)]
        assert [row["fits"] for row in half] == [True, True, False]
        assert half[2]["most"] == "vae"
    assert plan_json["why"] == "this machine has no GPU"


@pytest.mark.slow
def test_the_plan_of_missing_weights_is_shown_as_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FILMGATE_MODELS", str(tmp_path))
    source = videos.make(videos.VIDEOS["even"], tmp_path / "in.mp4")
    words = ["plan", "upscale", str(source), "--scale", "4", "--model", "diffvsr",
             "--dtype", "float16", "--flow", "dis"]  # fmt: skip
    assert main(words) == Exit.DONE
    shown = " ".join(capsys.readouterr().out.split())
    assert "scheduler_config.json is missing" in shown
    assert "ours float16" in shown
    assert "nothing was run" in shown
    assert "GPU's" not in shown, "its size is unknown"

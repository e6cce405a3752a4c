"""How fast are full-size networks of people on the device, and how much memory do they take?

Weights are random, so what they see means nothing; float32 on the same device is what half
precision is compared with. Seconds are medians of calls after a warm-up, each waited for; GB are
what torch's allocator allocated and reserved at most, weights included.
"""

from __future__ import annotations

from itertools import islice
from statistics import median
from time import perf_counter
from typing import Any

from tests.gpu.shared import NETWORKS, Part, Report, Setup, import_benchmark
from tests.gpu.speed import FULL_HD, free_memory, is_out_of_memory

PEOPLE = 5  # in a frame
BATCHES = (20, 5, 1)  # crops at a time; the largest first, for the comparison
WARM_UP, CALLS = 2, 20
ROW_S = 6  # of measuring one row, the call in progress not counted
FAR = {"float16": 0.05, "bfloat16": 0.2}  # of an entry of a rotation matrix from float32's


def list_parts() -> list[Part]:
    """Return a part for each network."""
    return [Part("speed hmr2", measure_hmr2, NETWORKS, 120)]


def measure_hmr2(setup: Setup, report: Report) -> None:
    """Measure HMR 2.0 with each dtype and batch, and how far its rotations are from float32's."""
    import torch

    from filmgate.core.instrumentation.torch_settings import fix_torch_settings
    from filmgate.models.families.hmr2.memory import predict

    rotations = dict[str, Any]()
    with torch.inference_mode(), fix_torch_settings():
        for dtype in ("float32", "float16", "bfloat16"):
            net = None
            with report.check(f"hmr2 {dtype}: the network is built", "measured") as found:
                net = make_hmr2(setup, getattr(torch, dtype))
                found["parameters"] = sum(tensor.numel() for tensor in net.parameters())
            if net is None:
                continue
            crops = make_crops(net, setup)
            for batch in BATCHES:
                with report.check(f"hmr2 {dtype} {batch} crops", "measured") as found:
                    peak = predict(batch, getattr(torch, dtype), net.shape).peak
                    found["predicted_gb"] = round(peak / 1e9, 3)
                    try:
                        output = measure_calls(net, crops[:batch], setup, found)
                    except Exception as error:
                        if not is_out_of_memory(error):
                            raise
                        found["out_of_memory"] = str(error).partition(". GPU")[0][:200]
                        continue
                    rotations[f"{dtype} {batch}"] = torch.cat(
                        [output.orient[:, None], output.pose], 1
                    ).cpu()
            if dtype != "float32":
                with report.check(f"hmr2 {dtype}: frames of {PEOPLE} people", "measured") as found:
                    measure_frames(net, setup, found)
            del net, crops
            free_memory()
    compare_rotations(rotations, report)


def make_hmr2(setup: Setup, dtype: Any) -> Any:
    """Return HMR 2.0 with random weights, made on the device; the mean person stands upright."""
    import torch

    from filmgate.models.families.hmr2.net import Hmr2
    from tests.models.families.hmr2.tiny import HMR2

    net = Hmr2(HMR2 if setup.dry else None, setup.device).eval().requires_grad_(False)
    torch.manual_seed(0)
    for name, weights in net.named_parameters():
        if weights.ndim > 1:
            scale = 0.1 if name.startswith("smpl_head.dec") else 1.0  # people near the mean
            weights.normal_(0, scale * weights[0].numel() ** -0.5)
        elif name.endswith("bias"):
            weights.zero_()
    upright = torch.tensor([1.0, 0, 0, 0, 1, 0], device=setup.device)
    net.smpl_head.init_body_pose.copy_(upright.repeat(24)[None])
    net.smpl_head.init_cam.copy_(torch.tensor([[0.9, 0, 0]], device=setup.device))
    return net.convert(setup.device, dtype)


def make_crops(net: Any, setup: Setup) -> Any:
    """Return normalised crops, the same for every network."""
    import torch

    side = net.shape.side
    chance = torch.Generator().manual_seed(1)
    return torch.randn(max(BATCHES), 3, side, side, generator=chance).to(setup.device)


def measure_calls(net: Any, crops: Any, setup: Setup, figures: dict[str, Any]) -> Any:
    """Add seconds and GB of calls with these crops to `figures`; return the last output."""
    import torch

    free_memory()
    cuda, seconds, output = not setup.dry, list[float](), None
    warm_up, count = (0, 1) if setup.dry else (WARM_UP, WARM_UP + CALLS)
    started = perf_counter()
    for n in range(count):
        if n > warm_up and perf_counter() - started > ROW_S:
            break
        start = perf_counter()
        output = net(crops)
        if cuda:
            torch.cuda.synchronize()
        seconds.append(perf_counter() - start)
    took = median(seconds[warm_up:])
    figures["ms_per_person"] = round(1e3 * took / len(crops), 3)
    figures["people_per_second"] = round(len(crops) / took, 1)
    figures["calls"] = len(seconds) - warm_up
    if cuda:
        figures["gb"] = round(torch.cuda.max_memory_allocated() / 1e9, 3)
        figures["reserved_gb"] = round(torch.cuda.max_memory_reserved() / 1e9, 3)
    assert output is not None
    for name, values in output._asdict().items():
        assert torch.isfinite(values).all(), f"{name} is NaN or infinite"
        assert values.dtype == torch.float32, f"{name} is {values.dtype}"
    return output


def measure_frames(net: Any, setup: Setup, figures: dict[str, Any]) -> None:
    """Add seconds of frames from planes to records: crops on the CPU, and the network."""
    from filmgate.models.families.hmr2.pose import PoseEstimator

    width, height = (160, 90) if setup.dry else FULL_HD
    (frame,) = islice(import_benchmark("_film").make_frames((width, height), 1), 1)
    boxes = [(n * width / 8, 0.1 * height, (n + 1.5) * width / 8, 0.9 * height)
             for n in range(PEOPLE)]  # fmt: skip
    estimate, seconds = PoseEstimator(net, setup.device, PEOPLE), list[float]()
    for _ in range(WARM_UP + (1 if setup.dry else CALLS)):
        start = perf_counter()
        people = estimate(frame, boxes)  # waits for the device: its results are on the CPU
        seconds.append(perf_counter() - start)
        assert len(people) == PEOPLE
    took = median(seconds[WARM_UP:])
    figures["size"] = f"{width}x{height}"
    figures["frames_per_second"] = round(1 / took, 2)
    figures["ms_per_person"] = round(1e3 * took / PEOPLE, 3)


def compare_rotations(rotations: dict[str, Any], report: Report) -> None:
    """Check half precision against float32, and a batch against each crop of it alone."""
    largest, alone = BATCHES[0], BATCHES[-1]
    wanted = rotations.get(f"float32 {largest}")
    for dtype, far in FAR.items():
        with report.check(f"hmr2 {dtype} against float32") as found:
            assert wanted is not None, "float32 was not measured"
            ours = rotations[f"{dtype} {largest}"]
            difference = (ours - wanted).abs()
            found["largest"], found["mean"] = float(difference.max()), float(difference.mean())
            # people differ, or a network that sees nothing would pass
            spread = float((wanted - wanted.mean(0)).abs().max())
            found["spread"] = spread
            assert found["largest"] < far, f"{found['largest']:.3g} is not below {far}"
            assert spread > 1e-3, f"all people are alike: {spread:.3g}"
    for dtype in ("float32", *FAR):
        with report.check(f"hmr2 {dtype}: one crop, and the same in a batch", "measured") as found:
            pair = rotations[f"{dtype} {alone}"], rotations[f"{dtype} {largest}"][:alone]
            found["largest"] = float((pair[0] - pair[1]).abs().max())
            if dtype == "float32":
                assert found["largest"] < 1e-4, "the batch changes the result by more than 1e-4"

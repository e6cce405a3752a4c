"""PHALP: values recorded from the published code, and files of weights."""

from contextlib import nullcontext
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from filmgate.device.placement import Placement
from filmgate.errors import BadSetting, BadWeights
from filmgate.models import registry
from filmgate.models.families.phalp import PhalpOptions, loading
from filmgate.models.families.phalp.appearance import TextureComparison, blend, pack, unpack
from filmgate.models.families.phalp.cost import Terms, combine, compute_costs
from filmgate.models.families.phalp.location import locate, predict_location
from filmgate.models.families.phalp.predictor import PosePredictor
from filmgate.models.families.phalp.tracker import PhalpTracker
from filmgate.testing.fake_cuda import fake_cuda
from filmgate.weights.state_dict import list_shapes
from tests.models.families.hmr2.tiny import draw
from tests.models.families.phalp import tiny as tiny_phalp

CLOSE = 1e-4
pytestmark = pytest.mark.usefixtures("no_gradients")


def close(values: Any) -> Any:
    return pytest.approx(values, abs=CLOSE)


# --- networks -------------------------------------------------------------------------------------


def test_texture_codes_match_those_of_the_published_code() -> None:
    net = tiny_phalp.encoder()
    assert len(net.state_dict()) == 12
    assert sum(tensor.numel() for tensor in net.state_dict().values()) == 1_005_856
    codes = net(draw(51, (1, 4, 32, 32)))
    assert codes.shape == (1, 16, 2, 2)
    flat = codes.flatten()
    assert [flat.mean(), flat.std(), flat.max()] == close([0.041976, 0.114693, 0.725366])
    assert [*flat[:4], *flat[-2:]] == close([0, 0, 0, 0.112345, 0.143094, 0])


def test_predicted_poses_match_those_of_the_published_code() -> None:
    net = tiny_phalp.predictor()
    assert len(net.state_dict().keys() | tiny_phalp.unused_tensors().keys()) == 90
    seen = torch.zeros(1, 25, dtype=torch.bool)
    seen[0, [0, 1, 2, 4, 5, 6, 8]] = True
    features = net(draw(52, (1, 25, 1, 229))[:, :, 0], seen)
    published = torch.cat([net.class_token, features], 1)  # which has one more token
    assert published.shape == (1, 26, 32)
    assert [published.mean(), published.std()] == close([-0.011154, 1.047509])
    assert published.flatten()[:4].tolist() == close([0.40242, 0.004526, -0.353407, -0.289156])
    places = net.loca_head[0](published[0]).flatten()
    assert places[:4].tolist() == close([-0.137654, 0.062961, 0.035465, 0.291479])
    _, _, camera = net.smpl_head[0](published[0])
    assert camera.flatten()[:4].tolist() == close([1.104875, 0.336053, 0.26156, 2.049072])


def make_predictor(**settings: Any) -> PosePredictor:
    zeros, ones = torch.zeros(229), torch.ones(229)
    return PosePredictor(tiny_phalp.predictor(), zeros, ones, **settings)


TIMES = np.array([[0, 0, 0, 0, 0, 1, 2], [0, 1, 2, 3, 5, 6, 8], [4, 5, 6, 7, 8, 9, 30.0]])
POSES = draw(7, (3, 7, 229)).numpy()


def test_each_pose_is_predicted_at_its_own_place_whoever_else_is_there() -> None:
    """The published code reads all of them at the place of the first."""
    together = make_predictor().predict(TIMES, POSES, [0, 3, 0])
    for k, misses in enumerate((0, 3, 0)):
        alone = make_predictor().predict(TIMES[k : k + 1], POSES[k : k + 1], [misses])
        assert together[k] == pytest.approx(alone[0], abs=1e-5)
    one_by_one = make_predictor(batch=1).predict(TIMES, POSES, [0, 3, 0])
    assert together == pytest.approx(one_by_one, abs=1e-5)


def test_as_upstream_every_pose_is_read_at_the_place_of_the_first() -> None:
    ours = make_predictor().predict(TIMES, POSES, [0, 3, 0])
    theirs = make_predictor(as_upstream=True).predict(TIMES, POSES, [0, 3, 0])
    assert theirs[0] == pytest.approx(ours[0], abs=1e-5)
    assert np.abs(theirs[1] - ours[1]).max() > 0.01
    # the first is read at 2 + 0 + 1, which is 5 frames before the last detection of the second
    wanted = make_predictor().predict(TIMES[1:2], POSES[1:2], [-6])
    assert theirs[1] == pytest.approx(wanted[0], abs=1e-5)


def test_unknown_poses_are_masked_and_results_must_be_finite() -> None:
    holed, moved = POSES[1:2].copy(), POSES[1:2].copy()
    holed[0, 3] = np.nan
    moved[0, 3] = 100.0
    found = make_predictor().predict(TIMES[1:2], holed, [0])
    assert np.isfinite(found).all()
    assert np.abs(found - make_predictor().predict(TIMES[1:2], moved, [0])).max() > 1e-3
    broken = make_predictor()
    broken.net.state_dict()["mask_token"].fill_(torch.inf)
    with pytest.raises(FloatingPointError, match="phalp predicted a pose that is NaN"):
        broken.predict(TIMES[1:2], holed, [0])


# --- location and cost ----------------------------------------------------------------------------

X = np.array([0.50, 0.51, 0.53, 0.54, 0.56, 0.57, 0.59])
DEPTH = np.array([30, 30.2, 30.1, 30.4, 30.6, 30.5, 30.8])
PLACES = np.stack([X, X[::-1], 0 * X, 0 * X, DEPTH], 1)
SEVEN = np.arange(7.0)


@pytest.mark.parametrize(
    ("misses", "depth", "x", "y"),
    [
        (0, (3.427427, 0.012795), (0.600391, 0.011009), (0.486857, 0.01267)),
        (3, (3.4379, 0.016622), (0.643542, 0.014301), (0.444857, 0.016459)),
    ],
)
def test_predicted_locations_match_those_of_the_published_code(
    misses: int, depth: tuple[float, float], x: tuple[float, float], y: tuple[float, float]
) -> None:
    found = predict_location(SEVEN, PLACES, misses)
    found[[2, 5]] = np.log(found[[2, 5]])
    assert found.tolist() == pytest.approx([x[0], y[0], depth[0], x[1], y[1], depth[1]], abs=2e-6)


def test_locations_are_predicted_for_at_most_48_frames_without_the_person() -> None:
    found = predict_location(SEVEN, PLACES, 60)
    assert (found[0], found[3]) == pytest.approx((1.290802, 0.083117), abs=2e-6)
    assert found.tolist() == predict_location(SEVEN, PLACES, 48).tolist()


def test_the_interval_is_divided_for_repeated_frames_and_infinite_if_all_are_one() -> None:
    times = np.array([0, 0, 0, 0, 1, 2, 3.0])
    complete = predict_location(times + 1e-9 * SEVEN, PLACES, 0)
    assert predict_location(times, PLACES, 0)[3:] == pytest.approx(complete[3:] / 4, rel=1e-6)
    assert np.isinf(predict_location(np.zeros(7), PLACES, 0)[3:]).all()
    same = np.repeat(PLACES[:1], 7, 0)
    assert np.isinf(predict_location(np.zeros(7), same, 0)[3:]).all(), "and not NaN"


def test_a_box_and_a_camera_give_the_location() -> None:
    box, frame = (220.0, 90.0, 60.0, 160.0), tiny_phalp.frame(0)
    x, y, tx, ty, depth = locate(box, frame).tolist()
    assert (x, y) == pytest.approx((250 / 640, (170 + 140) / 640)), "the square pads the frame"
    assert depth == pytest.approx(2 * 5000 / (0.9 * 160 * 256 / 640))
    shift = depth * 256 / 5000
    assert (tx, ty) == pytest.approx((shift * (x - 0.5), shift * (y - 0.5)))
    wide = locate((220.0, 90.0, 160.0, 60.0), frame)[4]
    assert wide == pytest.approx(depth * 3 / 4), "boxes are padded to 3 : 4"
    near = locate(box, frame, (1.8, 0.1, -0.2))
    assert near[4] == pytest.approx(depth / 2)
    assert near[0] == pytest.approx(x + 0.1 / near[4] * 5000 / 256)
    for scale in (0.0, -1.0, float("nan")):
        assert locate(box, frame, (scale, 0.3, 0.3)).tolist() == [x, y, tx, ty, depth]


def array(value: float) -> Any:
    return np.array([value])


def test_the_cost_matches_the_published_formula() -> None:
    depth, off = abs(np.log(30 / 31)), abs(np.log(1 / 1.3))
    found = combine(*map(array, (0.05, 0.3, 0.02, 0.01, depth, off)))
    assert found[0] == pytest.approx(2.764678, abs=1e-6)
    assert combine(*map(array, (0, 0, 0, 0.5, 0, 0.5)))[0] == 1


def make_terms(depths: list[float], poses: Any = None) -> Terms:
    """Return one track at x = y = 0.5 and detections at these depths."""
    count = len(depths)
    places = np.array([[0.5, 0.5, 0, 0, depth] for depth in depths])
    unknown = np.full((count, 229), np.nan)
    track = np.array([[0.5, 0.5, 30, 0.01, 0.01, 1.01]])
    pose = np.full((1, 229), np.nan) if poses is None else np.zeros((1, 229))
    return Terms(track, places, pose, unknown if poses is None else poses)


def test_costs_above_the_threshold_and_costs_that_are_no_number() -> None:
    terms = make_terms([30, 33, 1e9, -1])
    found = compute_costs(terms, None)[0]
    assert found[0] == 1, "unknown poses and looks do not count"
    assert 1 < found[1] < 2
    assert found[2:].tolist() == [100.00001, 100.00001]
    assert compute_costs(terms, None, as_upstream=True)[0].tolist() == [*found[:3], 0]
    strict = compute_costs(terms, None, threshold=1.0)[0]
    assert strict.tolist() == [1, *[1.00001] * 3]


def test_poses_and_looks_raise_the_cost_and_looks_are_compared_only_where_they_matter() -> None:
    poses = np.stack([np.full(229, value) for value in (0, 0.05, 1, np.nan)])
    asked = []

    def compare(pairs: Any) -> Any:
        asked.extend(pairs.tolist())
        return np.full(len(pairs), 0.05)

    terms = make_terms([30, 30, 30, 30], poses)
    found = compute_costs(terms, None)[0]
    assert found.tolist() == pytest.approx([1, 1 + 1.307 * 226 * 0.0025, 1 + 1.307 * 1.5, 1])
    looks = compute_costs(terms, compare)[0]
    assert looks.tolist() == pytest.approx((found * (1 + 4.0536 * 0.05)).tolist())
    assert asked == [[0, 0], [0, 1], [0, 2], [0, 3]]
    asked.clear()
    compute_costs(make_terms([1e9, 30]), compare)
    assert asked == [[0, 1]]


# --- textures -------------------------------------------------------------------------------------

SHARE = 0.1 * 0.95**2
BLENDED = ((0.749023, -180.4807), (0.874191, -156.4064), (0.93869, -127.2228), (0.97023, -85.4314),
           (0.985062, -67.1328))  # fmt: skip


def test_blended_textures_match_those_of_the_published_code() -> None:
    exact: Any = tiny_phalp.make_texture(1)
    packed = pack(exact)
    for seed, (known, total) in enumerate(BLENDED, 2):
        new = tiny_phalp.make_texture(seed)
        exact, packed = blend(exact, new, SHARE), pack(blend(unpack(packed), new, SHARE))
        assert (exact[3] == 1).mean() == pytest.approx(known, abs=1e-6)
        assert exact[:3].sum() == pytest.approx(total, abs=CLOSE)
    assert np.abs(unpack(packed) - exact).max() < CLOSE
    assert packed.nbytes == 3 * 256 * 256 * 2


def test_packed_textures_stay_close_to_exact_ones_for_many_frames() -> None:
    exact: Any = tiny_phalp.make_texture(1, 32)
    packed = pack(exact)
    for seed in range(200):
        new = tiny_phalp.make_texture(2 + seed % 20, 32)
        exact, packed = blend(exact, new, SHARE), pack(blend(unpack(packed), new, SHARE))
    assert np.abs(unpack(packed) - exact).max() < 0.0002


def test_looks_are_compared_in_batches_where_both_are_known() -> None:
    net, calls = tiny_phalp.encoder(), []
    net.register_forward_hook(lambda _, inputs, output: calls.append(len(inputs[0])))
    textures = [tiny_phalp.make_texture(seed, 32) for seed in range(6)]
    pairs = [(pack(a), pack(b)) for a, b in pairwise(textures)]
    found = TextureComparison(net, "cpu", 2).compare(pairs)
    assert calls == [4, 4, 2], "both of each pair, two pairs at a time"
    for (a, b), value in zip(pairwise(textures), found, strict=True):
        both = (a[3] > 0.5) & (b[3] > 0.5)
        codes = [net(torch.from_numpy(np.where(both, x, 0))[None]).flatten() / 1000 for x in (a, b)]
        wanted = 100 * float((codes[0] - codes[1]).square().sum())
        assert value == pytest.approx(wanted, rel=1e-3)
    hidden = pack(np.where(textures[0][3:] > 0, -1, textures[0]).astype(np.float32))
    assert TextureComparison(net, "cpu").compare([(hidden, pairs[0][1])]) == [0]
    assert TextureComparison(net, "cpu").compare([]).shape == (0,)


# --- files ----------------------------------------------------------------------------------------


def test_files_in_the_published_layout_are_opened(tmp_path: Path) -> None:
    folder = tiny_phalp.write_files(tmp_path / "phalp")
    options = PhalpOptions(weights=folder, head_size=16, batch=3)
    tracker = registry.build_person_tracker("phalp", options)
    assert isinstance(tracker, PhalpTracker)
    assert tracker.predictor is not None
    assert tracker.comparison is not None
    assert tracker.comparison.batch == 3
    nets = (tracker.predictor.net, tracker.comparison.net)
    for opened, made in zip(nets, (tiny_phalp.predictor(), tiny_phalp.encoder()), strict=True):
        assert list_shapes(opened) == list_shapes(made)
        for name, tensor in opened.state_dict().items():
            assert torch.equal(tensor, made.state_dict()[name])
    assert tracker.predictor.mean.shape == tracker.predictor.std.shape == (229,)
    assert tracker.predictor.std.tolist() == [1.0] * 229
    files = {path.name for path in registry.find_weight_files("phalp", options)}
    assert files == {"hmar_v2_weights.pth", "pose_predictor_40006.safetensors", "mean_std.npy"}
    assert registry.identify_weights(folder / "hmar_v2_weights.pth") == "phalp"
    assert registry.identify_weights(folder / "pose_predictor_40006.safetensors") == "phalp"


@pytest.mark.slow
def test_networks_run_on_cuda(tmp_path: Path) -> None:
    options = PhalpOptions(weights=tiny_phalp.write_files(tmp_path / "phalp"), head_size=16)
    textures = [pack(tiny_phalp.make_texture(seed, 32)) for seed in (1, 2)]
    found = []
    for device in ("cpu", "cuda"):
        with fake_cuda() if device == "cuda" else nullcontext():
            tracker = registry.build_person_tracker("phalp", options, Placement(device))
            assert isinstance(tracker, PhalpTracker)
            assert tracker.predictor is not None
            assert tracker.comparison is not None
            pose = tracker.predictor.predict(TIMES, POSES, [0, 1, 2])
            found.append((pose, tracker.comparison.compare([(textures[0], textures[1])])))
    (poses, looks), (poses_there, looks_there) = found
    assert poses_there == pytest.approx(poses, abs=1e-5)
    assert looks_there == pytest.approx(looks, rel=1e-4)


def test_each_network_may_be_missing_but_not_both(tmp_path: Path) -> None:
    folder = tiny_phalp.write_files(tmp_path / "phalp")
    (folder / "hmar_v2_weights.pth").unlink()
    options = PhalpOptions(weights=folder, head_size=16)
    tracker = registry.build_person_tracker("phalp", options)
    assert isinstance(tracker, PhalpTracker)
    assert tracker.comparison is None
    (folder / "mean_std.npy").unlink()
    with pytest.raises(BadWeights, match=r"and no mean_std\.npy, by which poses are normalised"):
        registry.build_person_tracker("phalp", options)
    (folder / "pose_predictor_40006.safetensors").unlink()
    with pytest.raises(BadWeights, match="holds neither hmar_v2_weights nor pose_predictor_40006"):
        registry.build_person_tracker("phalp", options)
    with pytest.raises(BadSetting, match="which is no folder: pass one with"):
        list(registry.find_weight_files("phalp", PhalpOptions(weights=folder / "x")))
    assert list(registry.find_weight_files("phalp")) == []


def test_other_weights_are_refused(tmp_path: Path) -> None:
    folder = tiny_phalp.write_files(tmp_path / "phalp")
    path = folder / "pose_predictor_40006.safetensors"
    tensors = load_file(path)
    with pytest.raises(BadWeights, match="attention of 32; pass the published"):
        loading.open_predictor(path, 64, "cpu")
    wrong = tensors | {"encoder.conv_de.bias": torch.zeros(3)}
    save_file(wrong, folder / "wrong.safetensors")
    with pytest.raises(BadWeights, match=r"conv_de\.bias is 3, expected 32"):
        loading.open_predictor(folder / "wrong.safetensors", 16, "cpu")
    for name in (
        "encoder.pos_embedding_learned1",
        "encoder.transformer1.layers.0.0.fn.to_qkv.weight",
    ):
        save_file({n: x for n, x in tensors.items() if n != name}, folder / "less.safetensors")
        with pytest.raises(BadWeights, match=r"not weights of the pose predictor: .* is missing"):
            loading.open_predictor(folder / "less.safetensors", 16, "cpu")
    with pytest.raises(BadWeights, match="12 of 12 are missing"):
        Placement().load(loading.open_encoder, path)


@pytest.mark.parametrize("made", [np.zeros(5), np.zeros((2, 300)), np.full((2, 9), np.nan),
                                  -np.ones((2, 9)), np.array([{"a": 1}])])  # fmt: skip
def test_statistics_that_are_none_are_refused(made: Any, tmp_path: Path) -> None:
    np.save(tmp_path / "mean_std.npy", made)
    with pytest.raises(BadWeights, match=r"mean_std\.npy"):
        loading.read_statistics(tmp_path / "mean_std.npy")


WRONG = ({"min_score": -0.1}, {"n_init": 0}, {"max_age": -1}, {"threshold": 0.5}, {"batch": 0},
         {"threshold": float("nan")}, {"head_size": 0})  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    (name,) = wrong
    with pytest.raises(BadSetting, match=f"{name} is .*: pass "):
        PhalpOptions(**wrong)

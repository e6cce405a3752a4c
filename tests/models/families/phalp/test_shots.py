"""Who is who after a shot boundary: by looks and pose, since no place is known."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from filmgate.models.families.phalp.appearance import TextureComparison
from filmgate.models.families.phalp.tracker import PhalpTracker
from filmgate.models.people.association import Assignments, PersonDetection
from tests.models.families.phalp.tiny import frame, make_pose, person

Seen = Mapping[str, PersonDetection]


class Means(torch.nn.Module):
    """Codes that tell textures by the means of their channels, on the scale of the real ones."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1500 * x[:, :3].mean((2, 3))


def make_tracker(**settings: Any) -> PhalpTracker:
    return PhalpTracker(None, TextureComparison(Means(), "cpu", 4), n_init=2, **settings)  # type: ignore[arg-type]


def show(x: float, colour: Sequence[float], part: slice = slice(None), **more: Any) -> Any:
    """Return someone at x whose texture has one colour, and is seen in some of its columns."""
    texture = np.zeros((4, 32, 32), np.float32)
    texture[3] = -1
    texture[:3, :, part] = np.reshape(colour, (3, 1, 1))
    texture[3, :, part] = 1
    return person(x, features={"texture": texture}, **more)


RED, GREEN, BLUE = (0.4, 0.0, 0.0), (0.0, 0.4, 0.0), (0.0, 0.0, 0.4)


def follow(tracker: PhalpTracker, shots: Sequence[Sequence[Seen]]) -> list[Assignments]:
    """Return who the people of each frame are; each shot after the first begins with a cut."""
    state, found, index = tracker.start(), list[Assignments](), 0
    for k, shot in enumerate(shots):
        for n, people in enumerate(shot):
            cut = k > 0 and n == 0
            state, who = tracker.update(state, frame(index, cut), list(people.values()))
            found.append(who)
            index += 1
    return found


FIRST = [{"red": show(20 + t, RED), "green": show(400 - t, GREEN)} for t in range(6)]
SWAPPED = [{"red": show(395, RED), "green": show(24, GREEN)}] * 4


@pytest.mark.parametrize("as_upstream", [False, True])
def test_people_who_change_places_at_a_shot_boundary_keep_their_numbers(as_upstream: bool) -> None:
    found = follow(make_tracker(as_upstream=as_upstream), [FIRST, SWAPPED])
    assert found[5].ids == (1, 2)
    after = [who.ids for who in found[6:]]
    assert not any(who.unseen for who in found[6:]) or as_upstream
    if as_upstream:  # places count, and no one who looks like that is at them
        assert after[0] == (-3, -4)
    else:
        assert after == [(1, 2)] * 4


def test_without_looks_everyone_is_new_after_a_shot_boundary_and_no_one_is_supposed() -> None:
    plain = PhalpTracker(n_init=2)
    found = follow(plain, [FIRST, [{"red": person(25)}, {}, {"red": person(25)}]])
    assert found[6].ids == (-3,), "at the place of number 1, and in a pose that is unknown"
    assert [who.unseen for who in found[6:]] == [()] * 3


def test_someone_who_is_found_later_in_the_new_shot_keeps_the_number_wherever_that_is() -> None:
    shot = [{}, {"green": show(30, GREEN)}, {"green": show(33, GREEN)},
            {"green": show(36, GREEN), "red": show(300, RED)}]  # fmt: skip
    found = follow(make_tracker(), [FIRST, shot])
    assert [who.ids for who in found[6:]] == [(), (2,), (2,), (2, 1)]
    assert [who.unseen for who in found[6:]] == [()] * 4, "no place is known until then"


def test_someone_else_at_the_place_of_a_track_is_new() -> None:
    found = follow(make_tracker(), [FIRST, [{"blue": show(25, BLUE)}] * 3])
    assert [who.ids for who in found[6:]] == [(-3,), (3,), (3,)]


def test_a_track_whose_place_is_known_is_not_taken_by_one_that_only_looks_like_it() -> None:
    """Someone new who looks more like number 1 in each frame than at first keeps the new number."""
    shades = [(0.4, share, 0.0) for share in (0.5, 0.4, 0.3, 0.25, 0.2)]
    found = follow(make_tracker(), [FIRST, [{"new": show(200, shade)} for shade in shades]])
    assert [abs(who.ids[0]) for who in found[6:]] == [3] * 5


@pytest.mark.parametrize(("columns", "kept"), [(slice(20, 32), False), (slice(10, 32), True)])
def test_looks_count_only_if_enough_of_what_is_seen_is_known(columns: slice, kept: bool) -> None:
    """From the back, say: the encoder sees two textures without common texels as equal."""
    first = [{"red": show(20, RED, slice(0, 16))}] * 4
    found = follow(make_tracker(), [first, [{"red": show(300, RED, columns)}] * 2])
    assert found[4].ids == ((1,) if kept else (-2,))


def test_of_two_who_look_alike_the_pose_tells() -> None:
    poses = [make_pose(1), make_pose(2)]
    first = [{f"{k}": show(20 + 300 * k, RED, fields=pose) for k, pose in enumerate(poses)}] * 4
    second = [{f"{k}": show(320 - 300 * k, RED, fields=pose) for k, pose in enumerate(poses)}]
    assert follow(make_tracker(), [first, second])[-1].ids == (1, 2)

"""What is pulled of PersonaLive is what is opened: three folders of the hub in one."""

from pathlib import Path

from filmgate.models.families.personalive import FAMILY, PersonaLiveOptions
from filmgate.models.families.personalive.published import OWN, REPOSITORIES, find_files
from filmgate.models.registry import find_together
from filmgate.weights.store import WeightsStore

COMMIT = "1" * 40
OTHERS = ("README.md", "train.py", "unet/diffusion_pytorch_model.bin", "safety_checker/model.bin")
LISTED = (
    [f"pretrained_weights/personalive/{name}.pth" for name in OWN],
    ["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors", "config.json"],
    ["unet/config.json", "image_encoder/config.json", "image_encoder/pytorch_model.bin"],
)


def test_the_files_that_are_pulled_are_those_that_are_found(tmp_path: Path) -> None:
    store, pulled = WeightsStore(tmp_path), list[Path]()
    for repository, paths in zip(REPOSITORIES, LISTED, strict=True):
        listing = dict.fromkeys((*paths, *OTHERS), (7, None))
        for file in repository.select_files(COMMIT, listing):
            assert f"/resolve/{COMMIT}/{file.path}" in file.address
            pulled.append(store.get_path(file))
            pulled[-1].parent.mkdir(parents=True, exist_ok=True)
            pulled[-1].write_bytes(b"weights")
    assert len(pulled) == 6 + 1 + 3
    folder = PersonaLiveOptions(weights=tmp_path / "personalive").folder
    assert sorted(find_files(folder)) == sorted(pulled)


def test_the_family_is_pulled_as_one() -> None:
    assert find_together("personalive") == REPOSITORIES
    assert FAMILY.by_hand is None

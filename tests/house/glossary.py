"""`python -m tests.house.glossary [PATH ...]`: old words in names, messages and prose."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.house.tree import ROOT, list_files

# Words that this project once used in a sense of its own, and what is written instead.
WORDS = {
    "album": "ImageReader, folder of images",
    "anew": "again",
    "begun": "started",
    "beside": "next to, besides, other streams",
    "certificate": "crash report",
    "costly": "model stage",
    "dressed": "wrapped",
    "film": "video",
    "films": "videos",
    "foresee": "predict",
    "foreseeing": "predicting",
    "foreseen": "predicted",
    "glance": "luma grid",
    "guarded": "checked",
    "hunger": "memory use",
    "hungriest": "largest",
    "hungry": "large",
    "knob": "setting",
    "knobs": "settings",
    "ledger": "checkpoints",
    "lean": "low memory",
    "leaner": "low memory",
    "lies": "is",
    "mend": "fix",
    "mended": "concealed",
    "nobody": "no one, none, no user",
    "noted": "recorded, notice",
    "papers": "docs",
    "patience": "timeout",
    "picture": "image, frame",
    "pictures": "images, frames",
    "polite": "graceful",
    "reel": "videos",
    "shelf": "store",
    "somebody": "another process, the user",
    "stills": "images",
    "stranger": "user, untrusted",
    "strangers": "users",
    "thrifty": "low memory",
    "told": "reported",
    "unlike": "normalized difference",
    "untold": "unknown",
    "whole": "complete, entire",
}
A_PERSON = r"\ba person\b"  # who uses the program
PHRASES = {
    A_PERSON: "the user",
    r"\bgo(es|ne|ing)? on\b": "resume, continue",
    r"\bstands? (at|for|in|where)\b": "is at, replaces",
    r"\bstand-ins?\b": "replacement",
    r"(?<!graphics )(?<!video )\bcards?\b": "GPU",
}
# Files in which a word is a term of the field or the name of a thing.
ALLOWED = (
    (r"families/film|test_film|film_speed|_film\.py|models/tiny|film_net|docs/models", ("film",)),
    (r"interpolate_quality|test_doctor|reading/side_data|tests/gpu|_on_cuda", ("film",)),
    (r"tests/(models/test_registry|pipeline/test_wrapping|tasks)", ("film",)),
    (r"people|pose|face_mesh|hog|hmr2|phalp|bytetrack|track|follow|torchvision", (A_PERSON,)),
    (r"docs/gpu|bench/warm_models", ("film",)),
    (
        r"deinterlace|media/(fields|timing)/|open_video|old_video|test_broadcasts|media/sources",
        ("film",),
    ),
    (r"docs/(old-videos|formats|cli|time)|CHANGELOG", ("film",)),
    (r"families/test_raft\.py", ("picture",)),  # in the name of recorded values
    (r"tests/house/(test_)?glossary\.py|bench/results/|tests/golden/|LICENSE", tuple(WORDS)),
)
# A title that the hashes of tests/net hold, and the model family FILM as text names it.
FAMILY = re.compile(
    r"\"A film\"|[`\"']film[`\"'.]|\bFILM\b|(model|families|pull|try|verify|family)[ .]film\b"
    r"|FilmInterpolator|FilmOptions|families\.film|\bfilm/|\bfilm gate\b|PictureType"
    r"|\"A film\""  # a title in recorded outputs
)
BOUNDARY = re.compile(r"\\b|\(\?<!.*?\)")  # searching is five times faster without
READ = (".py", ".md", ".toml", ".ipynb", "Makefile", "run")
PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def find_old_words(path: Path, root: Path = ROOT) -> Iterator[str]:
    """Return each old word in a file as `path:line: word, write ...`."""
    name, contents = path.relative_to(root).as_posix(), path.read_text(encoding="utf-8")
    allowed = {word for pattern, words in ALLOWED if re.search(pattern, name) for word in words}
    small = contents.lower().replace("filmgate", "")
    wanted = [word for word in WORDS if word not in allowed and word in small]
    phrases = {} if set(WORDS) <= allowed else {
        phrase: instead for phrase, instead in PHRASES.items()
        if phrase not in allowed and re.search(BOUNDARY.sub("", phrase), contents)
    }  # fmt: skip
    if not wanted and not phrases:
        return
    for number, line in enumerate(contents.splitlines(), 1):
        small = line.lower().replace("filmgate", "")
        near = [word for word in wanted if word in small]
        if not near and not phrases:
            continue
        text = FAMILY.sub("", line)
        parts = {part.lower() for part in PART.findall(text)} if near else set()
        for word in sorted(parts.intersection(near)):
            yield f"{name}:{number}: {word}, write {WORDS[word]}"
        for phrase, instead in phrases.items():
            if match := re.search(phrase, text):
                yield f"{name}:{number}: {match[0]}, write {instead}"


def find_all(places: tuple[str, ...]) -> list[str]:
    """Return the old words in all text files under some paths, all of the project by default."""
    return [
        found
        for path in list_files()
        if path.name.endswith(READ)
        and path.relative_to(ROOT).as_posix().startswith(places or ("",))
        for found in find_old_words(path)
    ]


if __name__ == "__main__":
    rows = find_all(tuple(sys.argv[1:]))
    print(*rows, sep="\n")
    print(f"{len(rows)} old words")
    sys.exit(bool(rows))

"""Open damaged videos and leave them after a few frames: `python -m tests.media.drop_videos`.

PyAV's messages are on, as torchvision leaves them when it is imported, so a decoder that is freed
with busy threads hangs for ever now and then.
"""

import random
import sys
from contextlib import suppress
from pathlib import Path

import av

from filmgate.errors import BadInput
from filmgate.media.containers.open import open_container
from filmgate.media.sources import VideoFile


def drop_video(path: Path, threads: int, frames: int) -> None:
    """Read a few frames of a damaged video: through a reader, then with the messages still on."""
    with suppress(BadInput):
        chunks = VideoFile(path).open(threads).read(None, 1)
        for _ in range(frames):
            next(chunks, None)
    with suppress(BadInput, av.FFmpegError), open_container(path) as container:
        av.logging.set_level(av.logging.ERROR)  # after it was opened
        stream = container.streams.video[0]
        stream.codec_context.thread_count, stream.codec_context.thread_type = threads, "AUTO"
        for packet in container.demux(stream):
            if len(packet.decode()) > frames:
                return


def damage_video(data: bytes, seed: int) -> bytes:
    """Return the mp4 with 200 bytes of its samples changed, behind the first frames."""
    draw = random.Random(seed)
    start = data.index(b"mdat") + 1500
    end = data.index(b"moov", start)
    damaged = bytearray(data)
    for _ in range(200):
        damaged[draw.randrange(start, end)] = draw.randrange(256)
    return bytes(damaged)


def main(video: str, count: str, *threads: str) -> None:
    """Drop `count` variants of `video` with each number of threads."""
    data, path = Path(video).read_bytes(), Path(video).with_name("damaged.mp4")
    for number in range(int(count)):
        path.write_bytes(damage_video(data, number))
        for wanted in threads:
            drop_video(path, int(wanted), 1 + number % 9)
    print("dropped", count)


if __name__ == "__main__":
    main(*sys.argv[1:])

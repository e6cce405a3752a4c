"""Tags of videos and of their tracks: languages, titles, dispositions, times."""

from contextlib import suppress
from dataclasses import replace
from datetime import datetime

from filmgate.media.probe import StreamInfo
from filmgate.media.streams.output_streams import QUICKTIME_LANGUAGES


def fold_key(key: str) -> str:
    """Return the name of a tag in one form: Matroska writes others than it is given."""
    return key.lower().replace(" ", "_")


def fold_text(key: str, text: str) -> str:
    """Return the text of a tag in one form: a time may have fractions of a second or not."""
    with suppress(ValueError):
        return datetime.fromisoformat(text).isoformat() if key.lower() == "creation_time" else text
    return text


def is_encoded(new: StreamInfo, old: StreamInfo) -> bool:
    """Whether it is the same audio in another codec."""
    return new.kind == old.kind == "audio" and new.codec != old.codec


def has_no_times(track: StreamInfo) -> bool:
    """Whether it has no times: an attachment, or a cover."""
    return track.kind == "attachment" or "attached_pic" in track.dispositions


def clear_default(track: StreamInfo) -> StreamInfo:
    """Return the track as one that is not the default of its kind."""
    traits = tuple(trait for trait in track.dispositions if trait != "default")
    return replace(track, dispositions=traits)


def find_title(track: StreamInfo) -> str:
    """Return the title, which an mp4 calls a name."""
    return track.metadata.get("title") or track.metadata.get("name", "")


def describe_tags(track: StreamInfo, title: str) -> str:
    """Return language, title and dispositions. A mov has the `title` as that of the handler."""
    own = find_title(track)
    if not own and title in (track.metadata.get(key) for key in ("handler_name", "HANDLER_NAME")):
        own = title
    language = QUICKTIME_LANGUAGES.get(track.language or "und", track.language or "und")
    roles = set(track.dispositions)
    if "hearing_impaired" in roles:  # an mp4 stores one mark for both
        roles.discard("captions")
    tags = (language, own, *sorted(roles))
    return " ".join(tag for tag in tags if tag)

"""Reading a video for `video.py`: what its first frame tells, then pictures as RGB with the packets between them."""

import contextlib
import errno
from collections.abc import Iterator, Set
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sr_keras.errors import InputError

if TYPE_CHECKING:  # PyAV is optional and imported inside the functions
    import av
    import av.container
    import av.stream

MOV = frozenset({".mp4", ".m4v", ".mov", ".3gp", ".3g2"})
KEEP_ALL = MOV | {".mkv", ".webm"}  # these hold a display matrix, chapters and any time between frames
_LOST_SIDE_DATA = {
    "MASTERING_DISPLAY_METADATA": "the HDR mastering data",
    "CONTENT_LIGHT_LEVEL": "the HDR light levels",
    "DYNAMIC_HDR_PLUS": "the HDR10+ data",
    "DOVI_METADATA": "the Dolby Vision data",
    "A53_CC": "the closed captions inside the pictures",
}
# From AVColorSpace, in which the tags count, to the tables of swscale; the rest (YCgCo, ICtCp) goes through BT.709 and
# back, which leaves the colours as they were.
_SWSCALE_MATRIX = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9, 10: 9}
RGB, _BT709, _UNSPECIFIED, _SMPTE170M = 0, 1, 2, 6
_LIMITED, FULL = 1, 2
FINE = 4 | 0x2000 | 0x4000 | 0x40000  # swscale: bicubic, whole chroma out and in, exact rounding
_PACKETS = 64  # copied packets between two pictures that may wait
SLACK = 1.5  # seconds without a frame, or missing from the length in the header, before it is spoken of


@dataclass(frozen=True)
class Step:
    packets: "list[av.Packet]"  # to copy
    pixels: np.ndarray | None = None  # None: the frame equals the one before
    pts: int | None = None  # in the time base of the source; None: no frame, packets alone
    duration: int = 0


@dataclass(frozen=True)
class First:
    stream: int
    height: int
    width: int
    format: str
    deep: bool
    tags: dict[str, int]  # the colour attributes that frames and encoders share
    display: tuple[int, ...] | None  # the display matrix, 16.16
    applied: bool  # to the pixels, since the target can't hold it
    aspect: Fraction  # of a sample
    rate: Fraction
    base: Fraction
    frames: int | None
    notes: tuple[str, ...]


def first_frame(source: Path, target: Path) -> First:
    with opened(source) as container, reading_errors(source):
        stream = video_stream(source, container)
        frame = next((f for packet in container.demux(stream) for f in _decoded(packet, strict=False)), None)
        if frame is None:
            raise InputError(f"{source}: no frame of it can be decoded; copy it again from its source.")
        display = _display_matrix(frame)
        applied = display is not None and target.suffix.lower() not in KEEP_ALL
        height, width, aspect = frame.height, frame.width, stream.sample_aspect_ratio or Fraction(1)
        if display and applied and _transposes(display):
            height, width, aspect = width, height, 1 / aspect
        rate, base = Fraction(stream.average_rate or stream.guessed_rate or 25), Fraction(str(stream.time_base))
        seconds = stream.duration * base if stream.duration else Fraction(container.duration or 0, 10**6)
        return First(
            stream=stream.index,
            height=height,
            width=width,
            format=frame.format.name,
            deep=max(component.bits for component in frame.format.components) > 8,
            tags=_tags(frame),
            display=display,
            applied=applied,
            aspect=aspect,
            rate=rate,
            base=base,
            frames=stream.frames or round(seconds * rate) or None,
            notes=tuple(_losses(frame, applied)),
        )


@contextlib.contextmanager
def reading_errors(source: Path) -> Iterator[None]:
    from av.error import FFmpegError

    try:
        yield
    except FFmpegError as error:
        advice = "check the path, or copy it again from its source"
        raise InputError(f"{source}: can't be read as a video ({error.strerror}); {advice}.") from error


def opened(source: Path) -> "av.container.InputContainer":
    try:
        import av
    except ImportError as error:
        raise InputError("video needs PyAV; pip install 'sr_keras[video]'.") from error
    # Absolute, for "a:b.mp4" would be taken for a protocol. Old files have tags in any encoding; they pass unread.
    with reading_errors(source):
        return av.open(str(source.absolute()), metadata_errors="surrogateescape")


def video_stream(source: Path, container: "av.container.InputContainer") -> "av.VideoStream":
    for stream in container.streams.video:
        if stream.codec_context is not None and not is_cover(stream):
            return stream
    raise InputError(f"{source}: has no video stream that can be decoded; give a video file.")


def is_cover(stream: "av.stream.Stream") -> bool:
    from av.stream import Disposition

    return bool(stream.disposition & (Disposition.attached_pic | Disposition.timed_thumbnails))


def _decoded(packet: "av.Packet", *, strict: bool) -> "list[av.VideoFrame]":
    """Returns the packet's frames; unless `strict`, passes over what precedes the first key frame of a recording."""
    from av.error import FFmpegError, InvalidDataError

    try:
        frames = packet.decode()
    except FFmpegError:
        if strict:
            raise
        return []
    damaged = packet.is_corrupt or any(frame.is_corrupt for frame in frames)
    if damaged and strict:
        raise InvalidDataError(errno.EIO, f"damaged at {float((packet.pts or 0) * packet.time_base):.1f} seconds")
    return [frame for frame in frames if not frame.is_corrupt]


def _side_data(frame: "av.VideoFrame") -> "dict[str, Any]":
    try:
        return {data.type.name: data for data in frame.side_data}
    except ValueError:  # PyAV 18 has no name for some of FFmpeg's kinds (EXIF, stereo views) and then lists none
        return {}


def _display_matrix(frame: "av.VideoFrame") -> tuple[int, ...] | None:
    data = _side_data(frame).get("DISPLAYMATRIX")
    if data is not None:
        matrix = tuple(np.frombuffer(data, np.int32).tolist())
    else:
        cosine, sine = ((1, 0), (0, 1), (-1, 0), (0, -1))[round(frame.rotation / 90) % 4]
        matrix = tuple(part << 16 for part in (cosine, -sine, 0, sine, cosine, 0, 0, 0, 1 << 14))
    return matrix if matrix[:5] != (1 << 16, 0, 0, 0, 1 << 16) else None


def _transposes(display: tuple[int, ...]) -> bool:
    return abs(display[0]) < abs(display[1])


def _turned(pixels: np.ndarray, display: tuple[int, ...]) -> np.ndarray:
    """Applies a display matrix, which maps (x, y) to (ax + cy, bx + dy), to the nearest of the eight positions."""
    a, b, _, c, d = display[:5]
    if _transposes(display):
        pixels, a, d = pixels.swapaxes(0, 1), c, b
    return np.ascontiguousarray(pixels[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1])


def _tags(frame: "av.VideoFrame") -> dict[str, int]:
    """Returns the colour tags, with the matrix filled in: a player's guess would change with the height."""
    rgb = is_rgb(frame.format)
    matrix = frame.colorspace
    if rgb or matrix in (RGB, _UNSPECIFIED):
        matrix = _SMPTE170M if frame.height < 720 and not rgb else _BT709
    full = not rgb and (frame.color_range == FULL or frame.format.name.startswith("yuvj"))
    return {
        "colorspace": matrix,
        "color_range": FULL if full else _LIMITED,
        "color_primaries": frame.color_primaries,
        "color_trc": frame.color_trc,
    }


def is_rgb(format: "av.VideoFormat") -> bool:
    return format.is_rgb or format.has_palette


def _losses(frame: "av.VideoFrame", applied: bool) -> Iterator[str]:
    if frame.interlaced_frame:
        yield "the frames are interlaced and were enlarged as they are; deinterlace first for a better picture"
    if any(component.is_alpha for component in frame.format.components):
        yield "the transparency is not kept"
    if applied:
        yield "the rotation was applied to the pixels, since the container holds no rotation tag"
    yield from (f"{_LOST_SIDE_DATA[kind]} is not kept" for kind in _side_data(frame) if kind in _LOST_SIDE_DATA)


def steps(source: Path, container: "av.container.InputContainer", first: First, copied: Set[int]) -> Iterator[Step]:
    container.streams[first.stream].thread_type = "AUTO"
    last, seen = None, Fraction(0)
    packets, previous = [], None
    with reading_errors(source):
        for packet in container.demux():
            if packet.pts is not None:
                seen = max(seen, (packet.pts + (packet.duration or 0)) * Fraction(packet.time_base))
            if packet.stream.index in copied and packet.size and not _is_gap(packet):
                packets.append(packet)
            for frame in _decoded(packet, strict=last is not None) if packet.stream.index == first.stream else ():
                pixels = _rgb(frame, first)
                fresh = previous is None or not np.array_equal(pixels, previous)
                last = Step(packets, pixels if fresh else None, _time(frame, last, first), frame.duration)
                yield last
                packets, previous = [], pixels
            if last is not None and len(packets) >= _PACKETS:
                yield Step(packets)
                packets = []
    # Matroska and AVI just end where a cut file does; only the header tells.
    stated = Fraction((container.duration or 0) + (container.start_time or 0), 10**6)
    if seen < stated - SLACK:
        raise InputError(f"{source}: ends at {float(seen):.1f} of {float(stated):.1f} seconds; copy it again.")
    yield Step(packets)


def _is_gap(packet: "av.Packet") -> bool:
    """MP4 keeps the time without a subtitle as empty ones, which its muxer makes anew."""
    return packet.size == 2 and packet.stream.name == "mov_text" and bytes(packet) == bytes(2)


def _time(frame: "av.VideoFrame", last: Step | None, first: First) -> int:
    """Returns the frame's own time, in the time base of its stream, or what follows the frame before."""
    stated = frame.dts if frame.pts is None else frame.pts
    if last is None:
        return stated or 0
    if stated is None:
        return last.pts + (last.duration or max(1, round(1 / (first.rate * first.base))))
    return max(stated, last.pts + 1)


def _rgb(frame: "av.VideoFrame", first: First) -> np.ndarray:
    yuv = {} if is_rgb(frame.format) else yuv_options("src", first.tags)
    picture = frame.reformat(format=rgb_format(first), interpolation=FINE, **yuv, dst_color_range=FULL)
    pixels = picture.to_ndarray()
    return _turned(pixels, first.display) if first.applied else np.ascontiguousarray(pixels)


def rgb_format(first: First) -> str:
    return "rgb48le" if first.deep else "rgb24"


def yuv_options(side: str, tags: dict[str, int]) -> dict[str, int]:
    matrix = _SWSCALE_MATRIX.get(tags["colorspace"], _BT709)
    return {f"{side}_colorspace": matrix, f"{side}_color_range": tags["color_range"]}

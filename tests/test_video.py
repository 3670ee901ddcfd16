"""Video: what is kept, what is computed, what is left behind by a run that fails; every clip is made here."""

import builtins
import subprocess
import sys
import wave
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from sr_keras import video
from sr_keras.errors import InputError
from sr_keras.files import PARTIAL

av = pytest.importorskip("av")

HEIGHT, WIDTH, SECONDS = 180, 320, 10
BASE = Fraction(1, 12_800)
DURATIONS = (512, 1024, 768)  # of the frames, in turn
TURNS = {  # as phones write them: the display matrix, 16.16
    "90": (0, 1 << 16, 0, -1 << 16, 0, 0, HEIGHT << 16, 0, 1 << 30),
    "180": (-1 << 16, 0, 0, 0, -1 << 16, 0, WIDTH << 16, HEIGHT << 16, 1 << 30),
    "270": (0, -1 << 16, 0, 1 << 16, 0, 0, 0, WIDTH << 16, 1 << 30),
    "mirror": (-1 << 16, 0, 0, 0, 1 << 16, 0, WIDTH << 16, 0, 1 << 30),
    "transpose": (0, 1 << 16, 0, 1 << 16, 0, 0, 0, 0, 1 << 30),
}
TEXT = {".mp4": "mov_text", ".mkv": "subrip"}


def twice(pixels: np.ndarray) -> np.ndarray:
    return pixels.repeat(2, axis=0).repeat(2, axis=1)


def scene(number: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """Looks different from every side, and moves with `number`."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 // width, y * 255 // height, np.full_like(x, 60)], -1).astype(np.uint8)
    pixels[: height // 4, : width // 4] = (255, 0, 0)
    left = number * 3 % (width - width // 8)
    pixels[height // 2 : height // 2 + height // 8, left : left + width // 8] = (0, 0, 255)
    return pixels


def film(output, frames, *, times=None, codec="libx264", pix_fmt="yuv420p", quality="1", display=None, **tags):
    """Adds a video stream and returns a function that encodes `frames` (RGB arrays or PyAV frames) into it."""
    height, width = (frames[0].height, frames[0].width) if isinstance(frames[0], av.VideoFrame) else frames[0].shape[:2]
    options = {"preset": "ultrafast", "bf": "2", "crf": quality} if codec == "libx264" else {}
    stream = output.add_stream(codec, 25, options, time_base=BASE)
    stream.width, stream.height, stream.pix_fmt = width, height, pix_fmt
    for name, value in tags.items():
        setattr(stream.codec_context, name, value)
    if display:
        stream.set_display_matrix(display)

    def encode() -> None:
        for k, pixels in enumerate(frames):
            frame = pixels if isinstance(pixels, av.VideoFrame) else av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts, frame.duration = times[k] if times else (k * 512, 512)
            frame.time_base = BASE
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))

    return encode


def sound(output, language: str, pitch: int, seconds: float, codec: str):
    stream = output.add_stream(codec, 48_000, layout="mono")
    stream.metadata["language"] = language

    def encode() -> None:
        for start in range(0, int(48_000 * seconds), 1024):
            tone = np.sin(np.arange(start, start + 1024) * (2 * np.pi * pitch / 48_000)) * 0.3
            frame = av.AudioFrame.from_ndarray(tone[None].astype(np.float32), format="fltp", layout="mono")
            frame.sample_rate, frame.pts, frame.time_base = 48_000, start, Fraction(1, 48_000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))

    return encode


def subtitles(output, codec: str):
    stream = output.add_mux_stream(codec)
    stream.metadata["language"] = "fra"
    stream.time_base = Fraction(1, 1000)

    def encode() -> None:
        for start, text in ((500, b"Bonjour"), (2000, b"Encore"), (7000, b"Au revoir")):
            packet = av.Packet(len(text).to_bytes(2, "big") + text if codec == "mov_text" else text)
            packet.pts = packet.dts = start
            packet.duration, packet.time_base, packet.stream = 1500, Fraction(1, 1000), stream
            output.mux(packet)

    return encode


def make_clip(path: Path, *, seconds: int = SECONDS, acodec: str = "aac") -> Path:
    times, start = [], 0
    while start < seconds / BASE:
        times.append((start, DURATIONS[len(times) % 3]))
        start += times[-1][1]
    with av.open(str(path), "w") as output:
        frames = [scene(k) for k in range(len(times))]
        parts = [film(output, frames, times=times, quality="15", display=TURNS["90"])]
        parts += [sound(output, language, pitch, seconds, acodec) for language, pitch in (("eng", 440), ("deu", 660))]
        if path.suffix in TEXT:
            parts.append(subtitles(output, TEXT[path.suffix]))
        output.streams[2].disposition = 0
        output.metadata["title"] = "A clip"
        output.set_chapters(
            [
                {"id": k + 1, "start": at, "end": at + 500, "time_base": Fraction(1, 100), "metadata": {"title": title}}
                for k, (at, title) in enumerate(((0, "One"), (500, "Two")))
            ]
        )
        for encode in parts:
            encode()
    return path


def make_film(path: Path, frames, **options) -> Path:
    with av.open(str(path), "w") as output:
        film(output, frames, **options)()
    return path


def frames_of(path: Path) -> list:
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def packets_of(path: Path, kind: str, number: int) -> list[tuple]:
    with av.open(str(path)) as container:
        stream = [s for s in container.streams if s.type == kind][number]
        return [(p.pts * p.time_base, p.duration * p.time_base, bytes(p)) for p in container.demux(stream) if p.size]


def shown(path: Path) -> np.ndarray:
    """Returns the first picture as a player shows it: each pixel is sent where the display matrix says."""
    frame = frames_of(path)[0]
    pixels = frame.to_ndarray(format="rgb24")
    if "DISPLAYMATRIX" not in {data.type.name for data in frame.side_data}:
        return pixels
    a, b, _, c, d = np.frombuffer(frame.side_data["DISPLAYMATRIX"], np.int32)[:5] // (1 << 16)
    y, x = np.mgrid[: frame.height, : frame.width]
    to_x, to_y = a * x + c * y, b * x + d * y
    out = np.zeros((np.ptp(to_y) + 1, np.ptp(to_x) + 1, 3), np.uint8)
    out[to_y - to_y.min(), to_x - to_x.min()] = pixels
    return out


@pytest.fixture(scope="module", params=[".mp4", ".mkv"])
def pair(request, tmp_path_factory):
    """A clip with everything in it, and what became of it."""
    folder = tmp_path_factory.mktemp("clip")
    source = make_clip(folder / f"clip{request.param}")
    target = folder / f"big{request.param}"
    summary = video.enlarge(source, target, twice, preset="ultrafast")
    return source, target, summary


def test_the_clip_has_b_frames_and_uneven_times(pair):
    pts = [pts for pts, _, _ in packets_of(pair[0], "video", 0)]
    assert pts != sorted(pts)
    assert len({b - a for a, b in zip(sorted(pts), sorted(pts)[1:], strict=False)}) >= 3


def test_every_frame_comes_at_its_time(pair):
    before, after = (frames_of(path) for path in pair[:2])
    shift = after[0].pts * after[0].time_base - before[0].pts * before[0].time_base
    assert len(after) == len(before) == pair[2].frames == 167
    assert [f.pts * f.time_base for f in after] == [f.pts * f.time_base + shift for f in before]
    assert shift <= Fraction(1, 40) if pair[0].suffix == ".mkv" else shift == 0


def test_every_frame_is_its_own_enlarged(pair):
    before, after = (frames_of(path) for path in pair[:2])
    for k in range(0, 167, 13):
        small, large = (frames[k].to_ndarray(format="rgb24").astype(int) for frames in (before, after))
        assert large.shape == (2 * HEIGHT, 2 * WIDTH, 3)
        assert np.abs(large[1::2, 1::2] - small).mean() < 3


def test_the_length_stays(pair):
    lengths = []
    for path in pair[:2]:
        with av.open(str(path)) as container:
            lengths.append(container.duration / 1e6)
    assert lengths[0] == pytest.approx(lengths[1], abs=0.04)
    assert pair[2].seconds == pytest.approx(10.0, abs=0.08)


@pytest.mark.parametrize("track", [0, 1])
def test_audio_packets_are_the_same_bytes_at_the_same_times(pair, track):
    before, after = (packets_of(path, "audio", track) for path in pair[:2])
    assert len(before) > 400
    assert after == before


def test_subtitle_packets_are_the_same_bytes_at_the_same_times(pair):
    before, after = (packets_of(path, "subtitle", 0) for path in pair[:2])
    assert [data for _, _, data in before if len(data) > 2]
    assert after == before


def test_title_chapters_languages_and_dispositions_stay(pair):
    facts = []
    for path in pair[:2]:
        with av.open(str(path)) as container:
            chapters = [
                (c["start"] * c["time_base"], c["end"] * c["time_base"], c["metadata"]) for c in container.chapters()
            ]
            streams = [(s.type, s.metadata.get("language"), s.disposition) for s in container.streams]
            facts.append((container.metadata.get("title"), chapters, streams))
    assert facts[0] == facts[1]
    assert facts[1][0] == "A clip" and [c[2]["title"] for c in facts[1][1]] == ["One", "Two"]
    assert {language for kind, language, _ in facts[1][2] if kind == "audio"} == {"eng", "deu"}


def test_nothing_is_noted_where_all_is_kept(pair):
    assert pair[2].notes == () and pair[2].codec == "libx264"
    assert (pair[2].height, pair[2].width) == (2 * HEIGHT, 2 * WIDTH)


@pytest.mark.parametrize("turn", TURNS)
@pytest.mark.parametrize("ending", [".mp4", ".mkv", ".ts"])
def test_a_turned_picture_is_shown_the_same_way_up(tmp_path, ending, turn):
    source = make_film(tmp_path / "phone.mp4", [scene(0)] * 2, display=TURNS[turn])
    target = tmp_path / f"big{ending}"
    seen = []
    video.enlarge(source, target, lambda pixels: seen.append(pixels.shape[:2]) or twice(pixels), preset="ultrafast")
    small, large = shown(source), shown(target)
    assert large.shape[0] == 2 * small.shape[0]
    assert np.abs(large[::2, ::2].astype(int) - small).mean() < 3
    assert seen[0] == video.size(source, target) == (small.shape[:2] if ending == ".ts" else (HEIGHT, WIDTH))


COLOURS = [(0.5, 0.5, 0.5), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 1), (0, 0, 0), (0.2, 0.7, 0.4), (1, 1, 0)]


def yuv_frame(matrix: int, full: bool, bits: int, height: int = 32):
    """Lays COLOURS side by side in 4:2:0, by the formulas of BT.601 (6) and BT.709 (1)."""
    red, blue = {6: (0.299, 0.114), 1: (0.2126, 0.0722)}[matrix]
    one = 1 << (bits - 8)
    frame = av.VideoFrame(32 * len(COLOURS), height, "yuv420p" if bits == 8 else "yuv420p10le")
    for index, plane in enumerate(frame.planes):
        view = np.frombuffer(plane, np.uint8 if bits == 8 else np.uint16).reshape(plane.height, -1)
        for k, (r, g, b) in enumerate(COLOURS):
            luma = red * r + (1 - red - blue) * g + blue * b
            part = (luma, (b - luma) / (2 - 2 * blue), (r - luma) / (2 - 2 * red))[index]
            zero = 128 * one if index else 0 if full else 16 * one
            width = plane.width // len(COLOURS)
            scale = 256 * one - 1 if full else (224 if index else 219) * one
            view[:, k * width : (k + 1) * width] = np.clip(round(part * scale + zero), 0, 256 * one - 1)
    return frame


def middles(pixels: np.ndarray) -> np.ndarray:
    """Returns the value in the middle of each colour's field."""
    step = pixels.shape[1] // len(COLOURS)
    return pixels[pixels.shape[0] // 2, step // 2 :: step].astype(float)


@pytest.mark.parametrize("bits", [8, 10])
@pytest.mark.parametrize("full", [False, True], ids=["limited", "full"])
@pytest.mark.parametrize("matrix", [6, 1], ids=["601", "709"])
def test_colours_keep_their_values_and_tags(tmp_path, matrix, full, bits):
    tags = {"colorspace": matrix, "color_range": 2 if full else 1, "color_primaries": matrix, "color_trc": matrix}
    frame = yuv_frame(matrix, full, bits)
    source = make_film(tmp_path / "a.mp4", [frame], pix_fmt=frame.format.name, **tags)
    seen = []
    video.enlarge(source, tmp_path / "b.mkv", lambda p: seen.append(p) or twice(p), crf=1, preset="ultrafast")
    peak = 255 if bits == 8 else 65_535
    assert seen[0].dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.abs(middles(seen[0]) / peak - COLOURS).max() < 2 / 255
    small, large = frames_of(source)[0], frames_of(tmp_path / "b.mkv")[0]
    assert {name: getattr(large, name) for name in tags} == tags
    assert large.format.name == small.format.name
    for before, after in zip(small.planes, large.planes, strict=True):
        before, after = (
            middles(np.frombuffer(p, np.uint8 if bits == 8 else np.uint16).reshape(p.height, -1)[:, : p.width])
            for p in (before, after)
        )
        assert np.abs(before - after).max() <= 2 * (1 << (bits - 8))


@pytest.mark.parametrize(("height", "matrix"), [(360, 6), (720, 1)])
def test_an_unstated_matrix_is_guessed_by_the_height_and_then_stated(tmp_path, height, matrix):
    source = make_film(tmp_path / "a.mp4", [yuv_frame(matrix, False, 8, height)])
    seen = []
    video.enlarge(source, tmp_path / "b.mp4", lambda p: seen.append(p) or twice(p), preset="ultrafast")
    assert np.abs(middles(seen[0]) / 255 - COLOURS).max() < 2 / 255
    assert frames_of(tmp_path / "b.mp4")[0].colorspace == matrix


def test_equal_frames_are_computed_once_and_shown_each_at_its_time(tmp_path):
    frames = [scene(k // 4) for k in range(12)]
    source = make_film(tmp_path / "a.mp4", frames, quality="0")
    calls = []
    summary = video.enlarge(source, tmp_path / "b.mp4", lambda p: calls.append(1) or twice(p), preset="ultrafast")
    assert (len(calls), summary.frames, summary.repeated) == (3, 12, 9)
    assert [f.pts * f.time_base for f in frames_of(tmp_path / "b.mp4")] == [k * 512 * BASE for k in range(12)]


@pytest.mark.parametrize(("height", "width"), [(63, 95), (63, 96), (64, 95)])
def test_odd_sizes_are_not_cropped(tmp_path, height, width):
    source = make_film(tmp_path / "a.mp4", [scene(0, 32, 48)] * 2)
    big = scene(0, height, width)
    big[-2:], big[:, -2:] = 255, 255
    summary = video.enlarge(source, tmp_path / "b.mp4", lambda pixels: big, preset="ultrafast", crf=1)
    (note,) = summary.notes
    assert note.startswith(f"{width}x{height} has an odd side, so chroma is yuv4")
    pixels = frames_of(tmp_path / "b.mp4")[0].to_ndarray(format="rgb24")
    assert pixels.shape == (height, width, 3)
    assert pixels[-1].min() > 200 and pixels[:, -1].min() > 200


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p"])
def test_chroma_subsampling_stays(tmp_path, pix_fmt):
    source = make_film(tmp_path / "a.mkv", [scene(0, 64, 96)], pix_fmt=pix_fmt)
    video.enlarge(source, tmp_path / "b.mkv", twice, preset="ultrafast")
    assert frames_of(tmp_path / "b.mkv")[0].format.name == pix_fmt


def test_the_shape_of_a_sample_stays(tmp_path):
    source = make_film(tmp_path / "a.mp4", [scene(0, 64, 96)], sample_aspect_ratio=Fraction(16, 15))
    video.enlarge(source, tmp_path / "b.mkv", twice)
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 15)


@pytest.mark.parametrize(("ending", "codec"), [(".webm", "libvpx-vp9"), (".avi", "mpeg4"), (".mpg", "mpeg2video")])
def test_every_container_has_an_encoder(tmp_path, ending, codec):
    source = make_film(tmp_path / "a.mp4", [scene(k, 64, 96) for k in range(5)])
    target = tmp_path / f"b{ending}"
    assert video.enlarge(source, target, twice).codec == codec
    assert [f.width for f in frames_of(target)] == [192] * 5


def add_cover(output):
    cover = output.add_stream("png")
    cover.width, cover.height, cover.pix_fmt = 10, 10, "rgb24"
    cover.disposition = av.stream.Disposition.attached_pic
    output.mux(cover.encode(av.VideoFrame.from_ndarray(scene(0, 10, 10), format="rgb24")))
    output.mux(cover.encode(None))


def test_a_cover_is_kept_and_is_not_the_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as output:
        encode = film(output, [scene(0, 64, 96)] * 3)
        add_cover(output)
        encode()
    for name in ("b.mp4", "b.mkv"):
        assert video.enlarge(tmp_path / "a.mp4", tmp_path / name, twice).notes == ()
        assert packets_of_cover(tmp_path / name) == packets_of_cover(tmp_path / "a.mp4")
        assert frames_of(tmp_path / name)[0].width == 192


def test_a_song_with_a_cover_is_no_video(tmp_path):
    with av.open(str(tmp_path / "song.mp4"), "w") as output:
        encode = sound(output, "eng", 440, 1, "aac")
        add_cover(output)
        encode()
    with pytest.raises(InputError, match="has no video stream"):
        video.enlarge(tmp_path / "song.mp4", tmp_path / "b.mp4", never)


def test_sound_that_outlasts_the_pictures_is_kept_whole(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        parts = [film(output, [scene(0, 64, 96)] * 3, codec="mjpeg", pix_fmt="yuvj420p")]
        parts.append(sound(output, "eng", 440, 3, "aac"))
        for encode in parts:
            encode()
    video.enlarge(tmp_path / "a.mkv", tmp_path / "b.mkv", twice)
    before, after = (packets_of(tmp_path / name, "audio", 0) for name in ("a.mkv", "b.mkv"))
    assert len(before) > 140
    assert [(pts, data) for pts, _, data in after] == [(pts, data) for pts, _, data in before]


def test_fonts_are_kept_by_matroska_and_noted_by_mp4(tmp_path):
    with av.open(str(tmp_path / "a.mkv"), "w") as output:
        encode = film(output, [scene(0, 64, 96)] * 3)
        output.add_attachment("serif.ttf", "application/x-truetype-font", b"a font")
        encode()
    assert video.enlarge(tmp_path / "a.mkv", tmp_path / "b.mkv", twice).notes == ()
    with av.open(str(tmp_path / "b.mkv")) as container:
        assert [(s.name, s.mimetype, s.data) for s in container.streams.attachments] == [
            ("serif.ttf", "application/x-truetype-font", b"a font")
        ]
    assert "attachment" in video.enlarge(tmp_path / "a.mkv", tmp_path / "b.mp4", twice).notes[0]


def packets_of_cover(path: Path) -> bytes:
    with av.open(str(path)) as container:
        stream = next(s for s in container.streams.video if s.disposition & av.stream.Disposition.attached_pic)
        return bytes(next(container.demux(stream)))


def test_progress_counts_every_frame(tmp_path):
    source = make_film(tmp_path / "a.mp4", [scene(k, 64, 96) for k in range(7)])
    calls = []
    video.enlarge(source, tmp_path / "b.mp4", twice, progress=lambda done, total: calls.append((done, total)))
    assert calls == [(k + 1, 7) for k in range(7)]


def test_subtitles_that_a_container_cannot_hold_are_noted(tmp_path):
    source = make_clip(tmp_path / "a.mkv", seconds=1)
    summary = video.enlarge(source, tmp_path / "b.mp4", twice, preset="ultrafast")
    assert len(summary.notes) == 1 and "subtitle stream 3 (subrip) is not kept" in summary.notes[0]


def never(pixels: np.ndarray) -> np.ndarray:
    raise AssertionError("was called")


def test_audio_that_a_container_cannot_hold_is_refused_before_anything_is_computed(tmp_path):
    source = make_clip(tmp_path / "a.mkv", seconds=1)
    with pytest.raises(InputError, match=r"\.webm can't hold audio stream 1 \(aac\).*write to \.mkv"):
        video.enlarge(source, tmp_path / "b.webm", never)


@pytest.fixture
def short(tmp_path) -> Path:
    return make_film(tmp_path / "short.mp4", [scene(k, 64, 96) for k in range(30)])


@pytest.mark.parametrize(
    ("name", "options", "line"),
    [
        ("b.mp4", {"codec": "x264"}, "codec 'x264' is no video encoder \\(did you mean 'libx264'"),
        ("b.mp4", {"codec": "aac"}, "codec 'aac' is no video encoder"),
        ("b.webm", {"codec": "libx264"}, "can't hold libx264; use libvpx-vp9"),
        ("b.avi", {"crf": 20}, "mpeg4 has no crf"),
        ("b.mp4", {"preset": "quick"}, "libx264 can't encode 192x128 with crf=18 preset=quick"),
        ("b.txt", {}, "'.txt' is no video container"),
        ("short.mp4", {}, "is the source itself"),
    ],
)
def test_a_wrong_wish_gets_one_line(short, tmp_path, name, options, line):
    before = short.read_bytes()
    with pytest.raises(InputError, match=line):
        video.enlarge(short, tmp_path / name, twice, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["short.mp4"] and short.read_bytes() == before


def holed(content: bytes) -> bytes:
    holes = bytearray(content)
    for at in range(len(content) // 3, len(content) * 2 // 3, 5000):
        holes[at : at + 1000] = bytes(1000)
    return bytes(holes)


def halved(content: bytes) -> bytes:
    return content[: len(content) // 2]


@pytest.mark.parametrize(("ending", "damage"), [(".mp4", halved), (".mp4", holed), (".mkv", halved)])
def test_a_damaged_source_gets_one_line_and_leaves_nothing(tmp_path, ending, damage):
    source = tmp_path / f"clip{ending}"
    noise = np.random.default_rng(0).integers(0, 256, (100, 64, 96, 3), np.uint8)
    make_film(source, list(noise))
    source.write_bytes(damage(source.read_bytes()))
    with pytest.raises(InputError, match="copy it again") as caught:
        video.enlarge(source, tmp_path / "b.mkv", twice, preset="ultrafast")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("pair", [".mkv"], indirect=True)
def test_a_hole_in_matroska_is_noted(pair, tmp_path):
    (tmp_path / "holes.mkv").write_bytes(holed(pair[0].read_bytes()))
    summary = video.enlarge(tmp_path / "holes.mkv", tmp_path / "b.mkv", twice, preset="ultrafast")
    assert any("no frames come between" in note for note in summary.notes)


@pytest.mark.parametrize("name", ["missing.mp4", "text.mp4", "sound.wav"])
def test_what_is_no_video_gets_one_line(tmp_path, name):
    (tmp_path / "text.mp4").write_text("no video at all")
    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(8000))
    with pytest.raises(InputError, match=name):
        video.enlarge(tmp_path / name, tmp_path / "b.mp4", twice)
    assert not (tmp_path / "b.mp4").exists()


def test_a_place_that_cannot_be_written_gets_one_line(short):
    with pytest.raises(InputError, match="can't be written"):
        video.enlarge(short, short / "b.mp4", twice)


def test_a_full_disk_gets_one_line_and_leaves_nothing(tmp_path):
    resource = pytest.importorskip("resource")
    noise = np.random.default_rng(0).integers(0, 256, (30, 64, 96, 3), np.uint8)
    source = make_film(tmp_path / "a.mp4", list(noise), quality="40")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(InputError, match="can't be written"):
            video.enlarge(source, tmp_path / "b.mp4", twice, crf=1, preset="ultrafast")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_what_upscale_raises_comes_through_and_nothing_is_left(short, tmp_path, error):
    calls = []

    def breaks(pixels):
        calls.append(1)
        if len(calls) == 9:
            raise error
        return twice(pixels)

    with pytest.raises(error):
        video.enlarge(short, tmp_path / "b.mp4", breaks)
    assert list(tmp_path.iterdir()) == [short]


def test_a_killed_run_leaves_nothing_under_the_target_name(short, tmp_path):
    script = """
import pathlib, sys
from sr_keras import video
calls = []
def wait(pixels):
    calls.append(1)
    if len(calls) == 20:
        print("half", flush=True)
        sys.stdin.read()
    return pixels.repeat(2, 0).repeat(2, 1)
video.enlarge(*map(pathlib.Path, sys.argv[1:]), wait, codec="mpeg4")
"""
    target = tmp_path / "b.mkv"
    with subprocess.Popen(
        [sys.executable, "-c", script, str(short), str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"half\n"
        process.kill()
    left = [path.name for path in tmp_path.iterdir() if path != short]
    assert left == [f"{PARTIAL}{process.pid}-b.mkv"]


def test_without_pyav_the_line_says_what_to_install(short, tmp_path, monkeypatch):
    real = builtins.__import__

    def without(name, *args):
        if name.split(".")[0] == "av":
            raise ImportError(name)
        return real(name, *args)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'sr_keras\[video\]'"):
        video.enlarge(short, tmp_path / "b.mp4", twice)

"""`python -m sr_keras.upscale`: enlarges pictures, folders of them and videos, of any size to any size."""

import argparse
import contextlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_keras import cli, files
from sr_keras.errors import InputError

if TYPE_CHECKING:  # every heavy import is inside a function, so that --help answers at once
    from rich.console import Console

    from sr_keras.jobs import Job
    from sr_keras.pipeline import Result, Saving
    from sr_keras.upscaler import Size, Upscaler

_MODEL = (
    "name of shipped weights such as s-x2-photo, run folder, .keras, .tflite, .onnx, .xml, SavedModel folder, or "
    "nearest, bilinear, bicubic, lanczos (default: the best shipped weights for --scale)"
)
_FORMATS = {"png": ".png", "jpeg": ".jpg", "webp": ".webp", "bmp": ".bmp", "tiff": ".tif"}


@dataclass(frozen=True)
class Video:
    """How videos are encoded: FFmpeg's names; None is the default of sr_keras.video."""

    codec: str | None = None
    crf: int | None = None
    preset: str | None = None


def upscale(
    work: "Sequence[Job]",
    upscaler: "Upscaler",
    *,
    saving: "Saving | None" = None,
    video: Video = Video(),
    skip_existing: bool = False,
    progress: Callable[[float, float], None] = lambda part, megapixels: None,
) -> "Iterator[Result]":
    """Enlarges every job, pictures first, and yields what became of it; a bad file is a failed result.

    `progress` gets the part of a job, and the megapixels of output, that were done since it was last called.
    """
    from sr_keras import pipeline

    left = []
    for job in work:
        if skip_existing and job.target.exists():
            progress(1.0, 0.0)
            yield pipeline.Result(job.name, str(job.target), "skipped")
        else:
            left.append(job)
    pictures = [job for job in left if not job.is_video]
    yield from pipeline.run(pictures, upscaler, saving or pipeline.Saving(), progress)
    for job in left:
        if job.is_video:
            yield _video(job, upscaler, video, progress)


def _video(job: "Job", upscaler: "Upscaler", options: Video, progress: Callable[[float, float], None]) -> "Result":
    from sr_keras import pipeline
    from sr_keras import video as video_file

    source = Path(job.name)  # a video is a file, never the standard input
    result, start, done = pipeline.Result(job.name, str(job.target), "done"), time.perf_counter(), 0.0
    try:
        height, width = video_file.size(source, job.target)
        result = replace(result, input_size=(width, height), output_size=upscaler.target(height, width)[::-1])

        def advance(frames: int, total: int | None) -> None:
            nonlocal done
            part = min(frames / total, 1.0) if total else 0.0
            progress(part - done, result.megapixels)
            done = part

        made = video_file.enlarge(source, job.target, upscaler, **asdict(options), progress=advance)
        result = replace(result, notes=(f"{made.frames} frames, {made.repeated} of them repeated", *made.notes))
    except (InputError, MemoryError) as error:
        result = pipeline.failed(result, error)
    progress(1.0 - done, 0.0)
    return replace(result, seconds=time.perf_counter() - start)


def table(results: "Sequence[Result]") -> str:
    """Returns the Markdown table of what became of the inputs."""
    return cli.markdown(*_columns(results))


def _columns(results: "Sequence[Result]") -> tuple[list[str], list[list[str]]]:
    def size(sides: tuple[int, int] | None) -> str:
        return f"{sides[0]}x{sides[1]}" if sides else ""

    rows = [
        [r.name, size(r.input_size), size(r.output_size), f"{r.seconds:.2f}" if r.seconds else "", r.status, r.target]
        for r in results
    ]
    return ["input", "from", "to", "seconds", "status", "output"], rows


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the command line and enlarges; returns the exit status: 1 if an input failed."""
    options = _parser().parse_args(argv)
    return cli.run(lambda: _main(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m sr_keras.upscale", description=__doc__)
    parser.add_argument("inputs", nargs="+", metavar="INPUT", help="pictures, folders, 'globs/**/*.jpg', videos, or -")
    parser.add_argument("--model", metavar="MODEL", help=_MODEL)
    parser.add_argument("-o", "--out", metavar="OUT", type=Path, help="file, folder, or - (default: beside the input)")
    size = parser.add_argument_group("size", "default: the model's scale; it runs up to 3 times, then is reduced")
    size.add_argument("--scale", type=float, metavar="S", help="such as 3.5")
    size.add_argument("--width", type=cli.positive, metavar="PIXELS")
    size.add_argument("--height", type=cli.positive, metavar="PIXELS")
    size.add_argument("--fit", metavar="WxH", help="as large as fits, such as 3840x2160")
    file = parser.add_argument_group("files")
    file.add_argument("--format", choices=sorted(_FORMATS), help="default: the input's own; png for -")
    file.add_argument("--quality", type=_percent, default=95, metavar="1-100", help="of JPEG and WebP (default: 95)")
    file.add_argument("--skip-existing", action="store_true", help="leaves out inputs whose output is there")
    file.add_argument(
        "--max-pixels", type=_megapixels, default=268.0, metavar="MP", help="megapixels of an input at most"
    )
    file.add_argument("--json", type=Path, metavar="FILE", help="writes the summary as JSON")
    file.add_argument("--report", type=Path, metavar="FILE.html", help="a page with a before/after slider a picture")
    quality = parser.add_argument_group("quality")
    quality.add_argument("--ensemble", action="store_true", help="averages 8 flips and rotations, 8 times as slow")
    quality.add_argument(
        "--back-project", type=_steps, default=0, metavar="N", help="steps towards down(output) == input"
    )
    quality.add_argument("--alpha", choices=("model", "bicubic"), default="model", help="what enlarges transparency")
    speed = parser.add_argument_group("speed")
    speed.add_argument("--tile", type=cli.positive, metavar="PIXELS", help="of the input (default: from free memory)")
    speed.add_argument(
        "--runtime", default="auto", metavar="NAME", help="auto measures, and takes the fastest near 60 dB"
    )
    speed.add_argument("--exact", action="store_true", help="auto takes float32 only")
    video = parser.add_argument_group("video")
    video.add_argument("--codec", metavar="NAME", help="FFmpeg's name, such as libx265")
    video.add_argument("--crf", type=int, metavar="N", help="quality of the codec; less is better")
    video.add_argument("--preset", metavar="NAME", help="such as slow")
    return parser


def _steps(text: str) -> int:
    if int(text) < 0:
        raise ValueError
    return int(text)


def _megapixels(text: str) -> float:
    if not 0 < float(text) < 1e9:
        raise ValueError
    return float(text)


def _percent(text: str) -> int:
    if not 1 <= int(text) <= 100:
        raise ValueError
    return int(text)


def _main(options: argparse.Namespace) -> int:
    from rich.console import Console

    from sr_keras import jobs

    size = _size(options)
    _check_files(options)
    to_stdout = str(options.out) == "-" or (options.inputs == ["-"] and options.out is None)
    with _standard_output(options, active=to_stdout) as out:
        found = jobs.find(options.inputs, out)
        upscaler = _upscaler(options, size)
        content = sys.stdin.buffer.read() if "-" in options.inputs else b""
        ending = _FORMATS[options.format] if options.format else None
        work = jobs.place(found, out, _label(size, upscaler.scale), ending=ending, content=content)
        console = Console(file=sys.stderr)
        own = "" if upscaler.predictor.interpolates else f" x{upscaler.scale}"
        console.print(f"{upscaler.predictor.name}{own} on {upscaler.predictor.runtime}", highlight=False)
        results = _with_progress(work, upscaler, options, console)
    return _told(results, upscaler, options, console)


def _size(options: argparse.Namespace) -> "Size":
    from sr_keras.upscaler import Size

    width, height = options.width, options.height
    if options.fit is not None:
        if width or height:
            raise InputError("--fit and --width or --height exclude each other; give one of them.")
        try:
            width, height = (cli.positive(side) for side in options.fit.lower().split("x"))
        except ValueError:
            raise InputError(f"--fit {options.fit}: give WIDTHxHEIGHT in pixels, such as 3840x2160.") from None
    return Size(options.scale, width, height)


def _label(size: "Size", own: int) -> str:
    if size.width and size.height:
        return f"{size.width}x{size.height}"
    if size.width or size.height:
        return f"w{size.width}" if size.width else f"h{size.height}"
    return f"x{size.scale or own:g}"


def _upscaler(options: argparse.Namespace, size: "Size") -> "Upscaler":
    from sr_keras.upscaler import Upscaler

    return Upscaler(
        options.model, scale=size.scale, width=size.width, height=size.height, tile=options.tile,
        runtime=options.runtime, exact=options.exact, ensemble=options.ensemble, back_project=options.back_project,
        alpha=options.alpha,
    )  # fmt: skip


def _check_files(options: argparse.Namespace) -> None:
    """Refuses what would only be found out after the work."""
    from sr_keras import picture

    other = picture.FORMATS.get(options.out.suffix.lower()) if options.out is not None else None
    if options.format and other and other is not picture.FORMATS[_FORMATS[options.format]]:
        raise InputError(f"{options.out}: its ending says another format than --format {options.format}; drop one.")
    for place in (options.json, options.report):
        if place is not None and place.is_dir():
            raise InputError(f"{place}: is a folder; give a file name.")
        if place is not None and place.resolve() in {Path(name).resolve() for name in options.inputs}:
            raise InputError(f"{place}: is an input and would be overwritten; give another name.")


@contextlib.contextmanager
def _standard_output(options: argparse.Namespace, *, active: bool) -> Iterator[Path | None]:
    """Gives the place of the output: -o, or a file that goes to the standard output once it is whole."""
    if not active:
        yield options.out
        return
    if len(options.inputs) != 1 or Path(options.inputs[0]).is_dir():
        raise InputError("-o -: the standard output takes one picture; give a folder.")
    with tempfile.TemporaryDirectory(prefix="sr_keras_") as folder:
        out = Path(folder) / f"output{_FORMATS[options.format or 'png']}"
        yield out
        if out.exists():
            sys.stdout.buffer.write(out.read_bytes())
            sys.stdout.buffer.flush()


def _with_progress(
    work: "Sequence[Job]", upscaler: "Upscaler", options: argparse.Namespace, console: "Console"
) -> "list[Result]":
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from sr_keras.pipeline import Saving

    saving = Saving(options.quality, round(options.max_pixels * 1e6), show=options.report is not None)
    video = Video(options.codec, options.crf, options.preset)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    start, megapixels, done, results = time.perf_counter(), 0.0, 0.0, []
    with _page(options, upscaler) as page, Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=len(work))

        def progress(part: float, more: float) -> None:
            nonlocal megapixels, done
            megapixels, done = megapixels + more, done + part
            rate = megapixels / max(time.perf_counter() - start, 1e-9)
            bar.update(task, completed=round(done, 6), description=f"{rate:.1f} MP/s")

        for result in upscale(
            work, upscaler, saving=saving, video=video, skip_existing=options.skip_existing, progress=progress
        ):
            if result.error:
                console.print(f"error: {result.error}", highlight=False, markup=False, soft_wrap=True)
            if page is not None:
                _show(page, result, upscaler)
            results.append(replace(result, shown=None))
        if page is not None:
            page.table(*_columns(results))
    return results


@contextlib.contextmanager
def _page(options: argparse.Namespace, upscaler: "Upscaler") -> Iterator[Any]:
    if options.report is None:
        yield None
        return
    from sr_keras import report

    model = upscaler.predictor
    facts = [("model", model.name), ("scale of the model", f"x{model.scale}"), ("runtime", model.runtime)]
    facts += [("ensemble", "8 flips and rotations")] if options.ensemble else []
    facts += [("back-projection", f"{options.back_project} steps")] if options.back_project else []
    with report.Page(options.report, f"{Path(model.name).name}: before and after", facts) as page:
        yield page


def _show(page: Any, result: "Result", upscaler: "Upscaler") -> None:
    from sr_keras import report

    if result.shown is None or result.input_size is None or result.output_size is None:
        return
    shown, (height, width) = result.shown, result.shown.after.shape[:2]
    facts = [
        ("input", "x".join(map(str, result.input_size))), ("output", "x".join(map(str, result.output_size))),
        ("seconds", f"{result.seconds:.2f}"),
    ]  # fmt: skip
    if (width, height) != result.output_size:
        facts.append(("shown", f"{width}x{height} from {shown.place[0]}, {shown.place[1]}"))
    page.add(report.Comparison(result.name, shown.before, shown.after, "bicubic", upscaler.predictor.name, facts))


def _told(results: "Sequence[Result]", upscaler: "Upscaler", options: argparse.Namespace, console: "Console") -> int:
    if str(options.out) != "-" and options.inputs != ["-"]:
        print(table(results))
    told = dict.fromkeys(
        note if note in upscaler.notes_of() else f"{r.name}: {note}" for r in results for note in r.notes
    )
    for note in told:
        console.print(f"note: {note}", highlight=False, markup=False, soft_wrap=True)
    if options.json:
        model = upscaler.predictor
        content = {
            "model": model.name, "scale": model.scale, "runtime": model.runtime, "notes": upscaler.notes_of(),
            "results": [{k: v for k, v in asdict(r).items() if k != "shown"} for r in results],
        }  # fmt: skip
        files.write_json(options.json, content)
    return 1 if any(r.status == "failed" for r in results) else 0


if __name__ == "__main__":
    sys.exit(main())

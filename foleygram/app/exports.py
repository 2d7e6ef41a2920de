"""Files of a take for other programs: film, sound, stems, MIDI, markers, timelines, envelope."""

import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from foleygram.app.films import Film, KeptTake
from foleygram.envelope.editing.files import write_envelope
from foleygram.media.isolate import MediaError, run_isolated, time_limit
from foleygram.production.export import ExportOptions, Track, Written, write_track

Kind = Literal["film", "sound", "stems", "stem", "midi", "markers", "edl", "otio", "envelope", "all"]
KINDS: tuple[str, ...] = get_args(Kind)
CURVES = {"midi": "mid", "envelope": "csv"}


class Export(NamedTuple):
    """A written file, the name under which it is downloaded, and the folder to remove afterwards."""

    path: Path
    name: str
    folder: Path


def export_take(film: Film, take: KeptTake, kind: str, options: ExportOptions, *, stem: int | None = None) -> Export:
    """Write the files `kind` of a take; several files become one ZIP, of stems also the one numbered `stem`.

    Raises ValueError for an unknown kind, and MediaError for what cannot be written, such as an EDL without frame rate.
    """
    if kind not in KINDS:
        raise ValueError(f"unknown export {kind!r}; there are {', '.join(KINDS)}")
    folder = Path(tempfile.mkdtemp(prefix="export-", dir=film.folder))
    try:
        files = _write(film, take, "stems" if kind == "stem" else kind, options, folder)
        if kind == "stem":
            files = [path for path in files if path.name.startswith(f"{stem}_")]
        if not files:
            raise MediaError(f"{film.name}: no {kind} could be written")
        if kind not in ("stems", "all"):
            return Export(files[0], files[0].name, folder)
        archive = folder / f"{_base(film, take)}-{kind}.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
            for path in files:
                packed.write(path, path.relative_to(folder))
        return Export(archive, archive.name, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _base(film: Film, take: KeptTake) -> str:
    return f"{film.stem}-take{take.number}"


def _write(film: Film, take: KeptTake, kind: str, options: ExportOptions, folder: Path) -> list[Path]:
    base, info = folder / _base(film, take), film.content.info
    files: list[Path] = []
    for name, suffix in CURVES.items():
        if kind == name or (kind == "all" and (name != "midi" or len(take.envelope.onsets()))):
            path = base.with_name(f"{base.name}.{suffix}")
            write_envelope(path, take.envelope, frame_rate=info.frame_rate or None, start=info.start_timecode)
            files.append(path)
    if kind in CURVES:
        return files
    track = Track(base.name, take.audio().numpy(), take.sample_rate, take.edges)
    result: Written = run_isolated(write_track, film.path, track, options, folder, timeout_sec=time_limit(film.seconds))
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    chosen = [path for path in written if kind == "all" or _kind_of(path, folder) == kind]
    if not chosen and (result.deviations or result.notes):
        raise MediaError("; ".join([*result.deviations, *result.notes]))
    return chosen


def _kind_of(path: Path, folder: Path) -> str:
    if path.relative_to(folder).parts[0] == "stems":
        return "stems"
    if path.name.endswith(".reaper.csv"):
        return "markers"
    return {".wav": "sound", ".edl": "edl", ".otio": "otio"}.get(path.suffix, "film")

"""The films that users have opened, each with its takes and a folder of its own inside the server's."""

import re
import secrets
import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from foleygram.app.limits import MAX_FILMS, MAX_REFERENCES, Limits
from foleygram.app.messages import ProjectMessage
from foleygram.app.proxy import write_proxy
from foleygram.app.reading import FilmContent, extract_sound, read_content, read_mono
from foleygram.envelope.envelope import Envelope
from foleygram.media.isolate import MediaError, run_isolated, time_limit
from foleygram.pipeline.pipeline import FoleyGRAMPipeline
from foleygram.pipeline.request import REFERENCE_RATE, envelope_of_video
from foleygram.production.takes import TakeScore


@dataclass(frozen=True)
class KeptTake:
    """A take whose sound is kept in a file; `edges` are the times at which its segments meet, in seconds."""

    number: int
    seed: int
    score: TakeScore
    envelope: Envelope
    obtained: Envelope
    samples: Path
    sound: Path
    sample_rate: int
    edges: tuple[float, ...] = ()
    parent: int | None = None
    region: tuple[float, float] | None = None

    def audio(self) -> Tensor:
        """The sound (channels, samples), as it was generated."""
        return torch.from_numpy(np.load(self.samples, allow_pickle=False))


@dataclass
class Film:
    """An open film: the file, what is known of it, its takes by number, and uploaded reference sounds by id.

    `project` is the state of the editor, kept for the page.
    """

    id: str
    name: str
    path: Path
    folder: Path
    content: FilmContent
    takes: dict[int, KeptTake] = field(default_factory=dict)
    references: dict[str, Path] = field(default_factory=dict)
    envelopes: dict[str, Envelope] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    next_take: int = 1
    modified_ns: int = 0
    project: ProjectMessage | None = None

    @property
    def seconds(self) -> float:
        """Length of the film."""
        return self.content.seen.seconds

    @property
    def stem(self) -> str:
        """The name without its suffix, for the names of exported files."""
        return Path(self.name).stem

    def made(self, name: str, write: Callable[[Path], None]) -> Path:
        """The file `name` of the film's folder, written by `write` when it is first asked for."""
        path = self.folder / name
        with self.lock:
            if not path.is_file():
                write(path)
        return path

    def proxy(self) -> Path:
        """A copy that browsers play; raises MediaError if the film cannot be decoded."""
        return self.made("proxy.mp4", lambda path: write_proxy(self.path, path, self.seconds))

    def own_sound(self, limits: Limits) -> Path:
        """The film's own sound as WAV; raises MediaError if it has none."""
        return self.made("own.wav", lambda path: extract_sound(self.path, path, limits))

    def reference(self, key: str | None, limits: Limits) -> Tensor | None:
        """An uploaded reference sound, mono (samples,); None for None. Raises ValueError for an unknown id."""
        return None if key is None else read_mono(self.reference_file(key), REFERENCE_RATE, limits)

    def reference_file(self, key: str) -> Path:
        """The file of an uploaded reference sound; raises ValueError for an unknown id."""
        if key not in self.references:
            raise ValueError(f"no reference sound {key!r}; upload it first")
        return self.references[key]

    def add_reference(self, path: Path) -> str:
        """Keep an uploaded reference sound; returns its id. Raises ValueError if there are too many."""
        if len(self.references) >= MAX_REFERENCES:
            raise ValueError(f"{MAX_REFERENCES} reference sounds are the most for one film")
        key = secrets.token_urlsafe(6)
        self.references[key] = path
        return key


class Films:
    """Opens, finds and closes films; `folder` is the server's own, `library` a folder whose films may be named."""

    def __init__(
        self, pipeline: FoleyGRAMPipeline, folder: Path, limits: Limits, *, library: Path | None, example: Path | None
    ) -> None:
        self.pipeline, self.folder, self.limits = pipeline, folder.resolve(), limits
        self.library = library.resolve() if library else None
        self.example = example
        self._films: dict[str, Film] = {}
        self._lock = threading.Lock()
        self._predicting = threading.Lock()

    def new_folder(self) -> Path:
        """An empty folder inside the server's own."""
        folder = self.folder / f"film-{secrets.token_urlsafe(9)}"
        folder.mkdir(mode=0o700)
        return folder

    def open(self, path: Path, name: str, folder: Path) -> Film:
        """Read a film and keep it; `folder` is removed if that fails. Raises MediaError for one that cannot be used."""
        try:
            content = read_content(path, self.pipeline.spec, self.limits)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        film = Film(secrets.token_urlsafe(12), name, path, folder, content, modified_ns=path.stat().st_mtime_ns)
        with self._lock:
            while len(self._films) >= MAX_FILMS:
                self._remove(next(iter(self._films)))
            self._films[film.id] = film
        return film

    def get(self, key: str) -> Film:
        """The film with this id, which becomes the one used last; raises KeyError if there is none."""
        with self._lock:
            film = self._films.pop(key)
            self._films[key] = film
            return film

    def opened(self, path: Path) -> Film | None:
        """The open film that was read from this file as it is now, the one used last if there are several."""
        modified_ns = path.stat().st_mtime_ns
        same = [film for film in self.all() if (film.path, film.modified_ns) == (path, modified_ns)]
        return same[-1] if same else None

    def all(self) -> list[Film]:
        """Every open film, the one used longest ago first."""
        with self._lock:
            return list(self._films.values())

    def close(self, key: str) -> None:
        """Close a film and remove its files; raises KeyError if there is none."""
        with self._lock:
            self._remove(key)

    def _remove(self, key: str) -> None:
        film = self._films.pop(key)
        shutil.rmtree(film.folder, ignore_errors=True)

    def library_film(self, name: str) -> Path:
        """A film of the library by its name; raises ValueError for anything outside of it."""
        if self.library is None:
            raise ValueError("this server has no folder of films; start it with --films FOLDER")
        path = (self.library / name).resolve()
        if Path(name).name != name or path.parent != self.library or not path.is_file():
            raise ValueError(f"{name}: no such film in the server's folder")
        return path

    def envelope(self, film: Film, source: str) -> Envelope:
        """The envelope predicted from the film, or, for `audio`, that of its own sound."""
        with film.lock:
            if source not in film.envelopes:
                film.envelopes[source] = self._read_envelope(film, source)
            return film.envelopes[source]

    def _read_envelope(self, film: Film, source: str) -> Envelope:
        if source == "predicted":
            with self._predicting:
                return self.pipeline.envelope_of(film.content.seen)
        if not film.content.info.has_audio:
            raise MediaError(f"{film.path}: has no sound track")
        seconds = self.limits.seconds
        own: Envelope = run_isolated(
            envelope_of_video, film.path, self.pipeline.spec, seconds, timeout_sec=time_limit(seconds)
        )
        return own


def clean_name(name: str) -> str:
    """A file name without folders or characters that file systems refuse; raises ValueError if nothing is left."""
    kept = re.sub(r"[^\w .()+,@=-]+", "_", re.split(r"[/\\]", name)[-1]).strip(" .")
    stem, suffix = Path(kept).stem[:80], Path(kept).suffix[:10]
    if not stem:
        raise ValueError(f"{name!r} is not a file name")
    return stem + suffix

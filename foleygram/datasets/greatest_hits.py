"""Greatest Hits (Owens et al. 2016), released or rendered, as clips."""

from collections.abc import Sequence
from pathlib import Path

import soundfile

from foleygram.datasets.captions import caption
from foleygram.datasets.clip import FIELDS, Clip, MediaClips, check_fields, cut_clips, parse_events
from foleygram.media.isolate import MediaError
from foleygram.media.video import probe
from foleygram.spec import ClipSpec, as_spec

VIDEO_ENDINGS = ("_denoised.mp4", "_denoised_thumb.mp4", "_mic.mp4", "_mic_thumb.mp4")
AUDIO_ENDINGS = ("_denoised.wav", "_mic.wav", *VIDEO_ENDINGS)
"""Endings of a recording's video and sound, in order of preference; without a WAV file the video's sound is used."""


class GreatestHits(MediaClips):
    """Clips of `spec.seconds` (full size: 10 s) from the released folder, flat or nested, in the order of the list.

    `split` is `train`, `test` or a path to a list of ids; items are those of `MediaClips`. Raises FileNotFoundError
    naming what is missing, ValueError naming a malformed line.
    """

    def __init__(
        self,
        root: str | Path,
        split: str | Path = "train",
        *,
        spec: str | ClipSpec | None = None,
        fields: Sequence[str] = FIELDS,
        frame_seed: int | None = None,
    ) -> None:
        self.spec, self.fields, self.frame_seed = as_spec(spec or ClipSpec()), check_fields(fields), frame_seed
        self.root = Path(root)
        if not self.root.is_dir():
            raise FileNotFoundError(f"{root}: no such folder; give Greatest Hits' or one that `foleygram render` wrote")
        # deepest first, so that of two files of one name the outer one stays
        paths = sorted(self.root.rglob("*.*"), key=lambda path: (-len(path.parts), str(path)))
        self._files = {path.name: path for path in paths if not path.name.startswith(".")}
        listing = self._list(split)
        ids = listing.read_text(encoding="utf-8-sig").split()
        self.clips = [clip for video_id in ids for clip in self._cut(video_id)]
        if not self.clips:
            raise FileNotFoundError(f"{listing}: no clip of {self.spec.seconds:g} s in the {len(ids)} videos it names")

    def _list(self, split: str | Path) -> Path:
        listing = self._files.get(f"{split}.txt") if split in ("train", "test") else Path(split)
        if listing is None:
            raise FileNotFoundError(f"{self.root}: no {split}.txt in it or below; is it Greatest Hits?")
        if not listing.is_file():
            raise FileNotFoundError(f"{split}: no such list of ids; give train, test or a file with one id per line")
        return listing

    def _cut(self, video_id: str) -> list[Clip]:
        sound = {"audio", "envelope_audio"} & set(self.fields)
        frames = {"frames", "motion"} & set(self.fields)
        audio = self._media(video_id, AUDIO_ENDINGS, needed=bool(sound) or not frames)
        video = self._media(video_id, VIDEO_ENDINGS, needed=bool(frames))
        times = self._files.get(f"{video_id}_times.txt")
        text = times.read_text(encoding="utf-8-sig", errors="replace") if times else ""
        duration = _duration(audio if audio.is_file() else video)
        events = parse_events(text, str(times))
        return cut_clips(video_id, video, audio, duration_sec=duration, seconds=self.spec.seconds, events=events)

    def _media(self, video_id: str, endings: Sequence[str], *, needed: bool) -> Path:
        for ending in endings:
            if f"{video_id}{ending}" in self._files:
                return self._files[f"{video_id}{ending}"]
        if needed:
            raise FileNotFoundError(f"{self.root}: none of {', '.join(video_id + ending for ending in endings)}")
        return self.root / f"{video_id}{endings[0]}"

    def caption(self, clip: Clip) -> str:
        """The text of the video's `_caption.txt` if it has one, as rendered videos do; else a caption of its events."""
        own = self._files.get(f"{clip.video_id}_caption.txt")
        return own.read_text(encoding="utf-8-sig").strip() if own else caption(clip.events)


def _duration(path: Path) -> float:
    """Seconds of sound, or of the video if the sound is in it."""
    if path.suffix != ".wav":
        return probe(path).duration_sec
    try:
        return float(soundfile.info(path).duration)
    except soundfile.LibsndfileError as error:
        raise MediaError(f"{path}: cannot be read ({error}); copy it again") from error

import pytest
import torch

from foleygram.evaluation import favd
from foleygram.evaluation.distances import FrechetAudioDistance, FrechetAudioVisualDistance
from foleygram.evaluation.extraction import AudioClip
from foleygram.evaluation.favd import PROFILES, extract_videos, load_profile
from foleygram.evaluation.feature_cache import FeatureCache
from foleygram.evaluation.frechet import frechet_distance
from foleygram.evaluation.networks.i3d import I3DNetwork
from foleygram.evaluation.networks.pwc import PWCNetwork
from foleygram.evaluation.networks.vggish import VGGishNetwork
from foleygram.media.video import motion_times, probe, read_frames


class Seen:
    """A network whose row says what was in a stack: its size, its mean, that of its first and of its last frame."""

    def __init__(self):
        self.identity, self.asked = {"name": "seen"}, []

    def __call__(self, stacks):
        self.asked.append(stacks.shape)
        brightness = stacks.float().mean((2, 3, 4))
        return torch.stack([brightness.mean(1), brightness[:, 0], brightness[:, -1]], 1)


@pytest.fixture
def clips(rendered):
    return [AudioClip(path) for path in sorted(rendered.glob("*_denoised.mp4"))][:2]


def test_rows_are_stacks_of_24_frames_at_25_a_second(clips, monkeypatch):
    monkeypatch.setattr(favd, "STACKS_AT_ONCE", 1)
    network = Seen()
    found = extract_videos(clips, network)
    assert not found.failures
    for clip, features in zip(clips, found.features, strict=True):
        seconds = probe(clip.path).duration_sec
        assert len(features.embeddings) == (round(25 * seconds) - 1) // 24
        frames = read_frames(clip.path, motion_times(0, seconds, 25), size=256, squash=False).frames.float()
        for index, row in enumerate(features.embeddings):
            stack = frames[24 * index : 24 * index + 25]
            torch.testing.assert_close(row, torch.stack([stack.mean(), stack[0].mean(), stack[24].mean()]))
    assert min(network.asked[0][-2:]) == 256


def test_segments_are_embedded_once_and_then_cached(clips, tmp_path):
    cache, network = FeatureCache(tmp_path), Seen()
    (whole,) = extract_videos(clips[:1], network, cache=cache).features
    assert torch.equal(extract_videos(clips[:1], Seen(), cache=cache).features[0].embeddings, whole.embeddings)
    asked = len(network.asked)
    extract_videos(clips[:1], network, cache=cache)
    assert len(network.asked) == asked
    later = extract_videos([AudioClip(clips[0].path, 0.96, 1.0)], network, cache=cache).features[0]
    torch.testing.assert_close(later.embeddings, whole.embeddings[1:2])
    short = extract_videos([AudioClip(clips[0].path, 0.0, 1.92)], network).features[0]
    assert len(short.embeddings) == 1  # 48 frames: a second stack would lack its 25th
    replaced = tmp_path / "video.mp4"
    for clip in clips:
        replaced.write_bytes(clip.path.read_bytes())
        (found,) = extract_videos([AudioClip(replaced)], network, cache=cache).features
        assert torch.equal(found.embeddings, extract_videos([clip], Seen()).features[0].embeddings)


def test_a_bad_video_is_named_and_the_others_are_processed(clips, tmp_path):
    (tmp_path / "broken.mp4").write_bytes(clips[0].path.read_bytes()[:3000])
    bad = [AudioClip(tmp_path / "broken.mp4"), AudioClip(tmp_path / "absent.mp4"), AudioClip(clips[0].path, 0, 0.9)]
    progress = []
    found = extract_videos([*bad, clips[1]], Seen(), progress=progress.append)
    assert sorted(found.failures) == [0, 1, 2]
    assert all(clip.path.name in found.failures[i] for i, clip in enumerate(bad))
    assert "I3D needs 1" in found.failures[2]
    assert found.features[3] is not None
    assert progress == [1, 2, 3, 4]


def rows(seed, count, dim, shift=0.0):
    return torch.randn(count, dim, generator=torch.Generator().manual_seed(seed)) + shift


def test_favd_concatenates_embeddings_cut_to_the_shorter():
    metric = FrechetAudioVisualDistance("favd-rgb-vggish", infinity=False)
    sets = {True: [], False: []}
    for clip in range(8):
        picture = rows(clip, 6, 3)
        for real, count, shift in ((True, 5, 0.0), (False, 7, 0.4)):
            sound = rows(100 + 2 * clip + real, count, 2, shift)
            metric.update(picture, sound, real=real, clip=str(clip))
            sets[real].append(torch.cat([picture[: min(6, count)], sound[: min(6, count)]], 1))
    found = metric.compute()
    expected = frechet_distance(torch.cat(sets[False]), torch.cat(sets[True]))
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert (found.num_generated, found.num_reference, found.dim) == (48, 40, 5)
    assert metric.profile == "favd-rgb-vggish"


def test_favd_of_a_set_with_itself_is_zero_and_with_few_embeddings_none():
    metric = FrechetAudioVisualDistance("favd-rgb-vggish")
    for real in (True, False):
        metric.update(rows(0, 9, 3), rows(1, 9, 2), real=real, clip="a")
    assert abs(metric.compute().value) < 1e-9
    few = FrechetAudioVisualDistance("favd-rgb-vggish")
    for real in (True, False):
        few.update(rows(0, 10, 1024), rows(1, 10, 128), real=real, clip="a")
    assert few.compute().value is None
    assert "10 embeddings in 1152 dimensions" in few.compute().notes[0]
    with pytest.raises(ValueError, match=r"b: embeddings of shape \(0, 5\)"):
        metric.update(rows(0, 3, 3), rows(1, 0, 2), real=True, clip="b")


def test_favd_depends_on_the_video():
    """The same sounds under other pictures: FAD sees nothing, FAVD does."""
    heard, seen = FrechetAudioDistance(infinity=False), FrechetAudioVisualDistance("p", infinity=False)
    for clip in range(40):
        sound = rows(clip, 10, 2)
        for real in (True, False):
            heard.update(sound, real=real, clip=str(clip))
            picture = sound + 0.1 * rows(clip + 500, 10, 2)
            seen.update(picture if real else picture.flip(0), sound, real=real, clip=str(clip))
    assert abs(heard.compute().value) < 1e-9
    assert seen.compute().value > 0.1


@pytest.mark.parametrize("name", PROFILES)
def test_missing_files_are_named_with_where_to_get_them(name, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{name} is left out: .*i3d_rgb.pt") as caught:
        load_profile(name, tmp_path)
    message = str(caught.value)
    assert ("i3d_flow.pt: missing" in message) == ("pwc_net_sintel.pt: missing" in message) == ("pwc" in name)
    assert ("vggish_pca_params" in message) == ("quantised" in name)
    assert "v-iashin/video_features" in message and "torchvggish" in message
    (tmp_path / "i3d_rgb.pt").touch()
    with pytest.raises(FileNotFoundError) as caught:
        load_profile(name, tmp_path)
    assert "i3d_rgb.pt: missing" not in str(caught.value)


def test_an_unknown_profile_lists_all(tmp_path):
    with pytest.raises(ValueError, match="'favd'; choose one of favd-rgb-pwc-vggish"):
        load_profile("favd", tmp_path)


def test_the_published_profile_loads_all_its_networks(tmp_path):
    widths = ((3, 4, 6), ((3, 2, 3, 2, 2, 2),) * 9)
    files = {
        "i3d_rgb.pt": I3DNetwork(3, *widths), "i3d_flow.pt": I3DNetwork(2, *widths), "pwc_net_sintel.pt": PWCNetwork(),
        "vggish-10086976.pth": VGGishNetwork((4, 6, 8, 8, 10, 10), 16),
    }  # fmt: skip
    for name, network in files.items():
        torch.save(network.state_dict(), tmp_path / name)
    eye, ear = load_profile("favd-rgb-pwc-vggish", tmp_path)
    assert eye.identity["name"] == "i3d-rgb+pwc-net"
    assert eye.identity["estimator"]["checkpoint"] == "pwc_net_sintel.pt"
    assert ear.identity["name"] == "vggish-raw"
    frames = torch.randint(256, (2, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    assert eye.estimator(frames.float()).shape == (1, 2, 64, 64)
    alone, _ = load_profile("favd-rgb-vggish", tmp_path)
    assert alone.identity["name"] == "i3d-rgb"
    assert alone.estimator is alone.flow is None

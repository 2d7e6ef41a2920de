"""`foleygram generate` on good and bad files: one line per error, the rest generated, no partial files."""

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from huggingface_hub import constants
from typer.testing import CliRunner

from foleygram.cli import app
from foleygram.media.audio import read_audio
from foleygram.media.video import probe
from tests.hub import running_hub

ROOT = Path(__file__).parents[1]


def run(*arguments):
    return CliRunner().invoke(app, ["generate", *map(str, arguments)])


def names(folder):
    """Results in a folder, if it exists; no unfinished files are left."""
    assert not (folder / ".foleygram").exists()
    return sorted(path.name for path in folder.glob("*") if path.name != "manifest.csv")


@pytest.fixture
def videos(rendered, tmp_path):
    folder = tmp_path / "in put"
    folder.mkdir()
    first, second = sorted(rendered.glob("*.mp4"))[:2]
    (folder / "Schlag ü.mp4").write_bytes(first.read_bytes())
    (folder / "zwei.mp4").write_bytes(second.read_bytes())
    return folder


def test_bad_files_are_reported_and_the_rest_is_generated(tiny_release, videos, tmp_path):
    good = (videos / "zwei.mp4").read_bytes()
    (videos / "empty.mp4").write_bytes(b"")
    (videos / "text.mp4").write_text("not a video")
    (videos / "cut.mp4").write_bytes(good[: len(good) // 3])
    out = tmp_path / "out"
    result = run(videos, "--out", out, "--checkpoint", tiny_release, "--steps", 2, "--device", "cpu")
    assert result.exit_code == 1, result.output
    assert names(out) == [f"{name}.{kind}" for name in ("Schlag ü", "zwei") for kind in ("json", "mp4", "wav")]
    for name in ("empty.mp4", "text.mp4", "cut.mp4"):
        line = next(line for line in result.output.replace("\n", " ").split("failed: ") if name in line)
        assert line
    source, made = probe(videos / "zwei.mp4"), probe(out / "zwei.mp4")
    assert made.duration_sec == pytest.approx(source.duration_sec, abs=1e-3)
    assert (made.width, made.height, made.video_codec) == (source.width, source.height, source.video_codec)
    wav = read_audio(out / "zwei.wav", sample_rate=16_000)
    assert wav.shape[-1] == round(source.duration_sec * 16_000)


def test_a_release_is_named_by_its_hub_id_and_a_missing_folder_never_is(tiny_release, videos, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with running_hub(monkeypatch) as hub:
        files = [path for path in tiny_release.rglob("*") if path.is_file()]
        hub.files = {path.relative_to(tiny_release).as_posix(): path.read_bytes() for path in files}
        common = ("--steps", 1, "--device", "cpu")
        result = run(videos / "zwei.mp4", "--out", tmp_path / "hub", "--checkpoint", "hub:owner/release", *common)
        assert result.exit_code == 0, result.output
        hub.ranges.clear()
        missing = run(videos / "zwei.mp4", "--out", tmp_path / "x", "--checkpoint", "owner/release", *common)
        assert (missing.exit_code, hub.ranges) == (1, []) and "owner/release: no such folder" in missing.output
    run(videos / "zwei.mp4", "--out", tmp_path / "local", "--checkpoint", tiny_release, *common)
    assert (tmp_path / "hub" / "zwei.wav").read_bytes() == (tmp_path / "local" / "zwei.wav").read_bytes()


def test_the_output_ends_with_remarks_and_where_the_results_are(tiny_release, videos, tmp_path):
    long = (videos / "zwei.mp4").rename(videos / "zwei, am See im Herbst, ein weiterer Versuch ohne Wind.mp4")
    (tmp_path / "nothing.csv").write_text("time,level\n0,0\n1,0\n")
    options = ("--out", tmp_path / "out", "--checkpoint", tiny_release, "--steps", 1, "--device", "cpu")
    result = run(long, *options, "--envelope", tmp_path / "nothing.csv")
    assert result.exit_code == 0
    named = "".join(line.split("│")[1].strip() for line in result.output.splitlines() if line.startswith("│"))
    assert named.replace(" ", "") == long.name.replace(" ", "")
    assert f"{long.name}: the envelope asked for has no onsets" in result.output
    assert f"results are in {tmp_path / 'out'};" in result.output


def test_finished_files_are_kept_without_overwrite(tiny_release, videos, tmp_path):
    common = (videos / "zwei.mp4", "--out", tmp_path / "out", "--checkpoint", tiny_release, "--steps", 1)
    assert run(*common).exit_code == 0
    before = (tmp_path / "out" / "zwei.wav").read_bytes()
    again = run(*common, "--seed", 9)
    assert again.exit_code == 0 and "already there" in again.output
    assert (tmp_path / "out" / "zwei.wav").read_bytes() == before
    assert run(*common, "--seed", 9, "--overwrite").exit_code == 0
    assert (tmp_path / "out" / "zwei.wav").read_bytes() != before


def test_files_from_elsewhere_are_kept_without_overwrite(tiny_release, videos, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "zwei.wav").write_bytes(b"mine")
    common = (videos, "--out", out, "--checkpoint", tiny_release, "--steps", 1)
    for _ in range(2):
        result = run(*common)
        assert result.exit_code == 0 and "was there before" in " ".join(result.output.split())
        assert (out / "zwei.wav").read_bytes() == b"mine" and not (out / "zwei.mp4").exists()
        assert (out / "Schlag ü.wav").exists()
    assert run(*common, "--overwrite").exit_code == 0
    assert read_audio(out / "zwei.wav", sample_rate=16_000).any()


def test_a_dry_run_lists_every_file_and_writes_nothing(tiny_release, videos, tmp_path):
    (videos / "empty.mp4").write_bytes(b"")
    result = run(videos, "--out", tmp_path / "out", "--checkpoint", tiny_release, "--dry-run")
    assert result.exit_code == 1 and not (tmp_path / "out").exists()
    assert all(word in result.output for word in ("zwei.mp4", "Schlag", "todo", "empty.mp4: the file is empty"))


def test_a_files_sound_does_not_depend_on_its_neighbours(tiny_release, videos, tmp_path):
    common = ("--checkpoint", tiny_release, "--steps", 1, "--device", "cpu", "--batch-size", 1)
    run(videos, "--out", tmp_path / "all", *common)
    run(videos / "zwei.mp4", "--out", tmp_path / "one", *common)
    assert (tmp_path / "all" / "zwei.wav").read_bytes() == (tmp_path / "one" / "zwei.wav").read_bytes()


def test_the_videos_own_sound_as_envelope(tiny_release, videos, tmp_path):
    result = run(
        videos / "zwei.mp4", "--out", tmp_path, "--checkpoint", tiny_release, "--steps", 1, "--envelope", "audio"
    )
    assert result.exit_code == 0 and "audio" in result.output


def test_the_input_is_never_overwritten(tiny_release, videos):
    before = (videos / "zwei.mp4").read_bytes()
    result = run(videos / "zwei.mp4", "--out", videos, "--checkpoint", tiny_release, "--steps", 1, "--overwrite")
    assert result.exit_code == 1 and "choose another" in result.output
    assert (videos / "zwei.mp4").read_bytes() == before


@pytest.mark.parametrize(("limit", "named"), [(100, "manifest.csv: cannot be written"), (20_000, "(File too large)")])
def test_a_full_disk_leaves_no_partial_files(tiny_release, videos, tmp_path, limit, named):
    """A limit on file size stands in for the full disk: both fail in the middle of a write."""
    code = (
        "import resource, signal, sys\n"
        "from foleygram.cli import main\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}))\n"
        "main(['generate', *sys.argv[1:]])"
    )
    out = tmp_path / "out"
    arguments = [videos / "zwei.mp4", "--out", out, "--checkpoint", tiny_release, "--steps", "1", "--device", "cpu"]
    result = subprocess.run([sys.executable, "-c", code, *map(str, arguments)], capture_output=True, text=True)
    assert result.returncode == 1, result.stderr
    printed = " ".join((result.stdout + result.stderr).split())
    assert named in printed and "Traceback" not in printed and "video is valid" not in printed
    assert names(out) == []


def test_a_drawn_envelope_is_followed(tiny_release, videos, tmp_path):
    (tmp_path / "hits.csv").write_text("time,velocity\n0.5,90\n1.25,60\n")
    common = (videos / "zwei.mp4", "--checkpoint", tiny_release, "--steps", 1, "--device", "cpu")
    drawn = run(*common, "--out", tmp_path / "drawn", "--envelope", tmp_path / "hits.csv")
    assert drawn.exit_code == 0, drawn.output
    row = next(line for line in drawn.output.splitlines() if "zwei.mp4" in line)
    assert [cell.strip() for cell in row.strip("│").split("│")][2:4] == ["given", "2"]
    assert run(*common, "--out", tmp_path / "predicted").exit_code == 0
    assert (tmp_path / "drawn" / "zwei.wav").read_bytes() != (tmp_path / "predicted" / "zwei.wav").read_bytes()
    (tmp_path / "hits.csv").write_text("time,velocity\n0.5,ninety\n")
    wrong = run(*common, "--out", tmp_path / "wrong", "--envelope", tmp_path / "hits.csv")
    assert wrong.exit_code == 1 and "line 2: velocity 'ninety'" in wrong.output and not (tmp_path / "wrong").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["absent.mp4", "--out", "o"], 1, "absent.mp4"),
        (["{empty}", "--out", "o"], 1, "no video in it"),
        (["{video}", "--out", "o", "--checkpoint", "nowhere"], 1, "nowhere"),
        (["{video}", "--out", "o", "--checkpoint", "{release}", "--device", "warp"], 1, "warp"),
        (["{video}"], 2, "--out"),
        (["{video}", "--out", "o", "--sparkle"], 2, "--sparkle"),
        (["{video}", "--out", "o", "--envelope", "drawn"], 1, "drawn"),
        (["{video}", "--out", "o", "--steps", "0"], 2, "steps"),
        (["{video}", "--out", "o", "--container", "webm", "--audio-codec", "aac"], 1, "aac cannot be stored in webm"),
        (["{video}", "--out", "o", "--mix-original", "loud"], 1, "write a level from -60dB to 12dB"),
        (["{video}", "--out", "o", "--segment", "1:2"], 1, "FROM:TO:PROMPT"),
        (
            ["{video}", "--out", "{out}", "--checkpoint", "{release}", "--segment", "2:1:a"],
            1,
            "zwei.mp4: a segment from 2",
        ),
        (["{video}", "--out", "{out}", "--checkpoint", "{release}", "--guidance", "nan"], 1, "give a number from 0"),
        (["{video}", "--out", "{out}", "--checkpoint", "{release}", "--guidance=-3"], 1, "guidance scale -3"),
        (["{video}", "--out", "{out}", "--checkpoint", "{release}", "--control-scale", "nan"], 1, "control scale nan"),
        (["{video}", "--out", "{out}", "--checkpoint", "{release}", "--steps", "1000000000"], 1, "from 1 to 1000"),
        (["{video}", "--out", "o", "--mix-original", "12"], 1, "write a level from -60dB to 12dB"),
        (["{video}", "--out", "o", "--weights", "video=1e9"], 1, "numbers from 0 to 100"),
        (["{video}", "--out", "o", "--takes", "1000000000"], 2, "takes"),
        (["{video}", "--out", "o", "--reference-audio", "absent.wav"], 1, "absent.wav: no such file"),
        (["{video}", "--out", "{video}", "--checkpoint", "{release}"], 1, "foleygram: {video}: cannot be written"),
        (["{video}", "--out", "o", "--sheet", "absent.csv"], 1, "absent.csv: no such file"),
        (["--from-sidecar", "absent.json", "--out", "o"], 1, "absent.json: no such file"),
        (["--from-sidecar", "a.json", "--out", "o", "--steps", "25"], 1, "a.json records; leave out --steps"),
        (["--out", "o"], 2, "give a video"),
    ],
)
def test_wrong_arguments_give_one_line(tiny_release, videos, tmp_path, arguments, code, named):
    (tmp_path / "nothing").mkdir()
    names = {
        "empty": tmp_path / "nothing",
        "video": videos / "zwei.mp4",
        "release": tiny_release,
        "out": tmp_path / "out",
    }
    result = run(*(argument.format(**names) for argument in arguments))
    assert result.exit_code == code
    assert named.format(**names) in result.output and "Traceback" not in result.output


def test_help_imports_no_torch():
    code = "import sys; sys.argv=['x', '--help']\nfrom foleygram.cli import main\ntry: main(['generate', '--help'])\n"
    code += "except SystemExit: pass\nassert 'torch' not in sys.modules and 'lightning' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_wrong_option_is_refused_before_the_networks_libraries_are_imported(tmp_path):
    code = "import sys\nfrom foleygram.cli import main\n"
    code += "try: main(['generate', 'v.mp4', '--out', 'out', '--mix-original', '12'])\n"
    code += "except SystemExit as end: assert end.code == 1\n"
    code += "assert not {'diffusers', 'transformers'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0 and "--mix-original 12: write a level" in done.stderr, done.stderr


@pytest.mark.parametrize("script", ["train.py", "generate.py", "evaluate.py"])
def test_scripts_print_their_help(script):
    arguments = ["fit", "--help"] if script == "train.py" else ["--help"]
    result = subprocess.run([sys.executable, ROOT / script, *arguments], capture_output=True, text=True, check=True)
    assert "--" in result.stdout


def test_version():
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0 and result.output == f"foleygram {version('foleygram')}\n"


def test_options_override_the_sampler_settings_of_a_release(tiny_release, videos, tmp_path):
    options = ("--checkpoint", tiny_release, "--device", "cpu")
    for name, more in (("own", ()), ("given", ("--steps", 2, "--solver", "ping_pong", "--guidance", 1))):
        result = run(videos / "zwei.mp4", "--out", tmp_path / name, *options, *more)
        assert result.exit_code == 0, result.output
    own, given = (json.loads((tmp_path / n / "zwei.json").read_text())["sampling"] for n in ("own", "given"))
    kept = {"controlnet_conditioning_scale": 1.0, "dtype": "float32", "apg_scale": 0.0}
    assert own == {"num_inference_steps": 3, "guidance_scale": 2.0, "solver": "dpmpp_2m"} | kept
    assert given == {"num_inference_steps": 2, "guidance_scale": 1.0, "solver": "ping_pong"} | kept
    refused = run(videos / "zwei.mp4", "--out", tmp_path / "no", *options, "--solver", "euler")
    assert refused.exit_code == 1 and "unknown solver 'euler'; there are dpmpp_2m" in refused.output

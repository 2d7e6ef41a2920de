#!/usr/bin/env bash
# Builds the wheel, installs it in an empty environment and generates in an empty folder without a network, with the
# seconds of each step. The argument names another Python: .ci/wheel.sh python3.13
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=${1:-$project/.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

timed() {  # LABEL COMMAND...: runs the command and prints its seconds
    local label=$1 start=$SECONDS
    shift
    "$@"
    printf -- '-- %s: %d s\n' "$label" $((SECONDS - start))
}

"$python" --version
"$python" -m pip wheel --quiet --no-deps --wheel-dir "$work" "$project"
"$python" -m zipfile --list "$work"/*.whl >"$work/files"
grep -q '^foleygram/app/static/index.js ' "$work/files"  # the editor's page, built
if grep -E '^frontend/|\.ts ' "$work/files"; then echo "the wheel carries the page's sources" >&2; exit 1; fi
timed "python -m venv" "$python" -m venv "$work/environment"
timed "pip install foleygram" "$work/environment/bin/python" -m pip install --quiet -c "$project/constraints.txt" "$work"/*.whl

mkdir "$work/empty"
cp "$(find "$project/data/examples" -name '*.mp4' | sort | head -n 1)" "$work/empty/my_video.mp4"
cd "$work/empty"
offline=(env HF_HUB_OFFLINE=1)
if unshare --user --map-root-user --net true 2>/dev/null; then offline+=(unshare --user --map-root-user --net); fi
timed "foleygram doctor" "${offline[@]}" "$work/environment/bin/foleygram" doctor
timed "foleygram generate, to the first sound" "${offline[@]}" "$work/environment/bin/foleygram" generate my_video.mp4 --out out
"${offline[@]}" "$work/environment/bin/python" -c '
from foleygram import FoleyGRAMPipeline

print(FoleyGRAMPipeline.from_pretrained("checkpoints/mini")("my_video.mp4", num_inference_steps=2).audio.shape)'
"${offline[@]}" "$work/environment/bin/python" -c '
from foleygram.benchmark.page import TEMPLATES

TEMPLATES.get_template("report.html")'
test -s out/my_video.wav

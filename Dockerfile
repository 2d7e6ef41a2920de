# foleygram in a container: the wheel with the miniature in it, at the versions of constraints.txt.
#   docker build -t foleygram .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" foleygram generate my_video.mp4 --out out
FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY foleygram foleygram
COPY checkpoints/mini checkpoints/mini
COPY configs configs
COPY data/examples/2000-01-12-00-00-33_denoised.mp4 data/examples/2000-01-12-00-00-33_denoised.mp4
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
# For a build of torch without CUDA, name its index: --build-arg PIP_EXTRA_INDEX_URL=...
ARG PIP_EXTRA_INDEX_URL=
COPY constraints.txt /tmp/constraints.txt
COPY --from=build /wheels /wheels
RUN PIP_EXTRA_INDEX_URL="$PIP_EXTRA_INDEX_URL" pip install --no-cache-dir -c /tmp/constraints.txt "$(ls /wheels/*.whl)[app]"
# Any user may run it: what libraries cache goes to a folder that every user may write.
ENV HOME=/tmp/home HF_HOME=/tmp/home/huggingface MPLCONFIGDIR=/tmp/home/matplotlib NUMBA_CACHE_DIR=/tmp/home/numba
RUN mkdir -m 1777 /tmp/home && foleygram doctor
WORKDIR /work
ENTRYPOINT ["foleygram"]
CMD ["--help"]

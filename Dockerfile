# The worker's image. Targets: cpu (default) and cuda; they differ in the build of torch alone.
#   docker build .                    docker build --target cuda --build-arg TORCH_CUDA=cu126 .
ARG PYTHON=python:3.11.14-slim-bookworm
ARG TORCH_CUDA=cu128

FROM ${PYTHON} AS build
RUN pip install --no-cache-dir --disable-pip-version-check uv==0.13.9
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never VIRTUAL_ENV=/opt/venv
RUN uv venv /opt/venv
WORKDIR /src
COPY pyproject.toml README.md LICENSE constraints.txt ./

# Dependencies before sources: a changed line of code does not fetch torch again.
FROM build AS build-cpu
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --torch-backend=cpu --constraint constraints.txt -r pyproject.toml --extra registry
COPY model model
COPY stream_worker stream_worker
RUN uv pip install --no-deps .

FROM build AS build-cuda
ARG TORCH_CUDA
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --torch-backend=${TORCH_CUDA} --constraint constraints.txt -r pyproject.toml --extra registry
COPY model model
COPY stream_worker stream_worker
RUN uv pip install --no-deps .

FROM ${PYTHON} AS runtime
RUN groupadd --gid 10001 worker \
 && useradd --uid 10001 --gid worker --no-create-home --home-dir /tmp --shell /usr/sbin/nologin worker \
 && install -d -o worker -g worker /var/lib/stream-worker /var/lib/stream-worker/checkpoints /var/cache/stream-worker /etc/stream-worker
# Compiled kernels are kept in NUMBA_CACHE_DIR, the only thing besides checkpoints and /tmp that is written.
# OpenMP's spinning threads starve librdkafka's on few cores; glibc's defaults give large buffers back at every step.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    NUMBA_CACHE_DIR=/var/cache/stream-worker \
    OMP_WAIT_POLICY=passive \
    MALLOC_MMAP_THRESHOLD_=33554432 \
    MALLOC_TRIM_THRESHOLD_=268435456 \
    PROMETHEUS_DISABLE_CREATED_SERIES=true \
    STREAM_WORKER__CHECKPOINT__PATH=/var/lib/stream-worker/checkpoints
WORKDIR /var/lib/stream-worker
USER 10001:10001
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
  CMD ["python", "-m", "stream_worker.container", "healthy"]
ENTRYPOINT ["stream-worker"]
CMD ["run"]

FROM runtime AS cuda
COPY --from=build-cuda /opt/venv /opt/venv
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM runtime AS cpu
COPY --from=build-cpu /opt/venv /opt/venv

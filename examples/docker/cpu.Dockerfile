# The environment of examples/setup_env.sh without a GPU, from the root of a checkout:
#   docker build -f examples/docker/cpu.Dockerfile --build-arg TORCH_INDEX=URL -t mgf_fairseq:cpu .
#   docker run --shm-size=8g -v "$PWD/data:/speech" -it mgf_fairseq:cpu mgf doctor
# TORCH_INDEX: an index with CPU builds of torch; without it, pip's default has the CUDA build (gigabytes).
# Not built yet: base images could not be fetched where this was written.
FROM python:3.12-slim
ARG TORCH_INDEX=""
ENV PIP_EXTRA_INDEX_URL=$TORCH_INDEX PIP_NO_CACHE_DIR=1 MGF_VENV=/opt/mgf
WORKDIR /opt/mgf_fairseq
COPY . .
RUN bash examples/setup_env.sh
ENV PATH=/opt/mgf/bin:$PATH
WORKDIR /speech
CMD ["mgf", "--help"]

# The environment of examples/setup_env.sh with CUDA, from the root of a checkout. torch's wheels of pip's
# default index carry the CUDA libraries; the machine needs NVIDIA's driver and container toolkit:
#   docker build -f examples/docker/cuda.Dockerfile -t mgf_fairseq:cuda .
#   docker run --gpus all --shm-size=8g -v "$PWD/data:/speech" -it mgf_fairseq:cuda mgf doctor
# Not built yet: base images could not be fetched where this was written.
FROM python:3.12-slim
# Triton, which torch.compile uses, builds its launchers with a C compiler.
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
ARG MGF_TORCH="torch==2.13.0"
ENV PIP_NO_CACHE_DIR=1 MGF_VENV=/opt/mgf MGF_TORCH=$MGF_TORCH
WORKDIR /opt/mgf_fairseq
COPY . .
RUN bash examples/setup_env.sh
ENV PATH=/opt/mgf/bin:$PATH
WORKDIR /speech
CMD ["mgf", "--help"]

# The program on processors, without GPUs. As yourself, so that runs/ and reports/ of this folder are yours:
#   docker build -t ablation . && docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" ablation ablation-train
FROM python:3.12-slim

WORKDIR /opt/ablation
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY ablation ablation
COPY conf conf
# PyTorch's own index has builds without CUDA, a tenth of the size; everything else comes from PyPI.
RUN pip install --no-cache-dir --constraint constraints.txt --index-url https://download.pytorch.org/whl/cpu \
      --extra-index-url https://pypi.org/simple . \
 && useradd --create-home ablation

USER ablation
WORKDIR /work
CMD ["ablation-train", "--help"]

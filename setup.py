"""Packaging of mgf_fairseq; README.md and examples/setup_env.sh say in which order to install."""

import re
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).resolve().parent


def read(name):
    path = ROOT / name
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def version():
    """Read __version__ without importing the package, which would need torch and fairseq."""
    found = re.search(r'^__version__\s*=\s*"([^"]+)"', read("mgf_fairseq/__init__.py"), re.M)
    if not found:
        raise RuntimeError('mgf_fairseq/__init__.py has no line __version__ = "..."')
    return found.group(1)


# What `mgf report` needs: pictures, and t-SNE for utterance embeddings.
REPORT = ["matplotlib>=3.6", "scikit-learn>=1.3"]
# What `mgf export` needs for Hugging Face and ONNX; the other formats need nothing more.
EXPORT = [
    "transformers>=5",
    "safetensors>=0.5",
    "onnx>=1.18",
    "onnxruntime>=1.22",
    "onnxscript>=0.5",
]
DOCS = ["mkdocs>=1.6"]  # the site of the pages
COMPLETION = ["shtab>=1.7"]  # `mgf completion`
SLURM = ["hydra-submitit-launcher>=1.2.0", "submitit>=1.5"]

setup(
    name="mgf-fairseq",
    version=version(),
    description="Multi-granularity self-supervised speech pre-training as a fairseq plugin",
    long_description=read("README.md"),
    long_description_content_type="text/markdown",
    author="the mgf_fairseq authors",
    license="MIT",
    packages=find_packages(include=["mgf_fairseq", "mgf_fairseq.*"]),
    package_data={"mgf_fairseq": ["py.typed", "configs/**/*.yaml"]},
    # fairseq 0.12.2, which runs on 3.10, pins a hydra that cannot launch a training here.
    python_requires=">=3.11",
    install_requires=[
        # fairseq's last release, which Python 3.11 cannot import, with the same code.
        "fairseq-fixed>=0.12.3.1",
        "torch>=2.5",
        "numpy>=1.23",
        "soundfile>=0.12.1",  # its libsndfile reads Opus and MP3
        "soxr>=0.3.7",
        "sentencepiece>=0.1.99",
        "editdistance>=0.6.2",
        "tqdm>=4.60",
    ],
    extras_require={
        # What examples/quickstart needs beyond training. espeakng-loader carries espeak-ng
        # (GPL-3.0), which is loaded there to make audio; no part of it is in this package.
        "demo": ["espeakng-loader>=0.2.4", *REPORT],
        "report": REPORT,
        "export": EXPORT,
        # Submits a training to SLURM and puts it back into the queue (run=submitit).
        "slurm": SLURM,
        "docs": DOCS,
        "completion": COMPLETION,
        # What tests/run.sh needs.
        "test": [
            "pytest>=8",
            "pytest-xdist>=3.5",
            "pytest-cov>=6",
            "librosa>=0.10.1",
            "hypothesis>=6.100",
            "mypy>=1.10",
            "ruff>=0.6",
            "s3prl>=0.4.18",  # drives an export
            *EXPORT,
            *SLURM,
            *DOCS,
            *COMPLETION,
        ],
    },
    entry_points={"console_scripts": ["mgf = mgf_fairseq.cli:main"]},
    classifiers=[
        "License :: OSI Approved :: MIT License",
        "Operating System :: POSIX",
        "Programming Language :: Python :: 3",
        "Topic :: Multimedia :: Sound/Audio :: Speech",
    ],
    zip_safe=False,
)

"""Corpora that `mgf prepare --download` gets by name: where they are, their license, their digest.

SHA-256 digests are those of torchaudio's data sets (`torchaudio/datasets/librispeech.py` and
`speechcommands.py`, `_CHECKSUMS`), MD5 digests those of OpenSLR 31.
"""

from __future__ import annotations

import os
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path

from ..utils.download import Remote, download
from ..utils.progress import Progress, silent
from .corpora.base import PrepareError

CC_BY = "CC BY 4.0, https://creativecommons.org/licenses/by/4.0/"
_OPENSLR = "http://www.openslr.org/resources"


@dataclass(frozen=True)
class OpenCorpus:
    """A corpus in one tar archive.

    `folder` is where its recordings are in the archive, empty for its top.
    """

    title: str
    license: str
    home: str
    archive: Remote
    folder: str


def _librispeech(subset: str, sha256: str) -> tuple[str, OpenCorpus]:
    archive = Remote(f"{_OPENSLR}/12/{subset}.tar.gz", f"sha256:{sha256}")
    home, folder = "https://www.openslr.org/12", f"LibriSpeech/{subset}"
    title = f"LibriSpeech {subset}, read English (Panayotov et al. 2015)"
    return f"librispeech-{subset}", OpenCorpus(title, CC_BY, home, archive, folder)


def _mini_librispeech(subset: str, md5: str) -> tuple[str, OpenCorpus]:
    archive = Remote(f"{_OPENSLR}/31/{subset}.tar.gz", f"md5:{md5}")
    home, folder = "https://www.openslr.org/31", f"LibriSpeech/{subset}"
    title = f"Mini LibriSpeech {subset}, read English"
    return f"mini-librispeech-{subset}", OpenCorpus(title, CC_BY, home, archive, folder)


OPEN_CORPORA: dict[str, OpenCorpus] = dict(
    [
        _mini_librispeech("train-clean-5", "5df7d4e78065366204ca6845bb08f490"),
        _mini_librispeech("dev-clean-2", "6d7ab67ac6a1d2c993d050e16d61080d"),
        _librispeech(
            "dev-clean", "76f87d090650617fca0cac8f88b9416e0ebf80350acb97b343a85fa903728ab3"
        ),
        _librispeech(
            "dev-other", "12661c48e8c3fe1de2c1caa4c3e135193bfb1811584f11f569dd12645aa84365"
        ),
        _librispeech(
            "test-clean", "39fde525e59672dc6d1551919b1478f724438a95aa55f874b576be21967e6c23"
        ),
        _librispeech(
            "test-other", "d09c181bba5cf717b3dee7d4d592af11a3ee3a09e08ae025c5506f6ebe961c29"
        ),
        _librispeech(
            "train-clean-100", "d4ddd1d5a6ab303066f14971d768ee43278a5f2a0aa43dc716b0e64ecbbbf6e2"
        ),
        _librispeech(
            "train-clean-360", "146a56496217e96c14334a160df97fffedd6e0a04e66b9c5af0d40be3c792ecf"
        ),
        _librispeech(
            "train-other-500", "ddb22f27f96ec163645d53215559df6aa36515f26e01dd70798188350adcb6d2"
        ),
        (
            "speech-commands",
            OpenCorpus(
                "Speech Commands 0.02, single English words (Warden 2018)",
                CC_BY,
                "https://arxiv.org/abs/1804.03209",
                Remote(
                    "http://download.tensorflow.org/data/speech_commands_v0.02.tar.gz",
                    "sha256:af14739ee7dc311471de98f5f9d2c9191b18aedfe957f4a6ff791c709868ff58",
                ),
                "",
            ),
        ),
    ]
)


def place(name: str, folder: Path) -> Path:
    """Where the recordings of a corpus are once it was fetched below `folder`."""
    return folder / name / OPEN_CORPORA[name].folder


def fetch(name: str, folder: Path, progress: Progress = silent) -> Path:
    """Download and unpack a corpus below `folder`, unless it is there; return `place`.

    The archive is removed when all of it was unpacked.

    Raises:
        OSError: the download failed; the same call resumes it.
        PrepareError: the archive cannot be unpacked, or holds something else.
    """
    corpus, dest = OPEN_CORPORA[name], folder / name
    if place(name, folder).is_dir():
        return place(name, folder)
    archive = folder / corpus.archive.name
    download(corpus.archive, archive, progress)
    partial = folder / f"{name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    _unpack(archive, partial, progress)
    if not (partial / corpus.folder).is_dir():
        shutil.rmtree(partial)
        raise PrepareError(f"{archive} holds no folder {corpus.folder}")
    os.replace(partial, dest)
    archive.unlink()
    return place(name, folder)


def _unpack(archive: Path, dest: Path, progress: Progress) -> None:
    """Extract files, and only files that stay below `dest`."""
    size = archive.stat().st_size
    try:
        with archive.open("rb") as stream, tarfile.open(fileobj=stream) as tar:
            for member in tar:
                _extract(tar, member, dest)
                progress("unpack", stream.tell() / 1e6, size / 1e6)
    except tarfile.TarError as error:
        shutil.rmtree(dest, ignore_errors=True)
        raise PrepareError(f"{archive} cannot be unpacked: {error}") from error


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, dest: Path) -> None:
    """Extract one file or folder; by hand, since Python before 3.11.4 has no filters for tar.

    Raises:
        tarfile.TarError: it is something else, or would lie outside of `dest`.
    """
    target = (dest / member.name).resolve()
    if not target.is_relative_to(dest.resolve()):
        raise tarfile.TarError(f"{member.name} would be written outside of the folder")
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    source = tar.extractfile(member) if member.isfile() else None
    if source is None:
        raise tarfile.TarError(f"{member.name} is neither a file nor a folder")
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("wb") as copy:
        shutil.copyfileobj(source, copy)

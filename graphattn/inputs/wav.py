"""Wav files: samples between -1 and 1, after a check that the file is whole."""

import struct
import warnings
from os import PathLike
from pathlib import Path

import numpy as np
import scipy.io.wavfile


def read_wav(path: str | PathLike) -> tuple[np.ndarray, int]:
    """Samples float64 [channels, samples], full scale = 1, and the sample rate in Hz.

    PCM of 8, 16, 24 and 32 bits and floating point. Raises ValueError, naming the file, if it is no wav file, holds
    fewer bytes than its headers announce, has no samples, or has a coding that scipy cannot read.
    """
    check_riff(path)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', scipy.io.wavfile.WavFileWarning)  # chunks of text and the like
            sample_rate, samples = scipy.io.wavfile.read(path)
    except ValueError as error:
        raise ValueError(f"cannot read '{path}': {error}; convert it to PCM first") from error
    return full_scale(samples).reshape(len(samples), -1).T, sample_rate  # [channels, samples]


def full_scale(samples: np.ndarray) -> np.ndarray:
    """float64 samples with full scale at 1; 8-bit wav is unsigned around 128, the other integers are signed."""
    if samples.dtype == np.uint8:
        return (samples.astype(np.float64) - 128) / 128
    if np.issubdtype(samples.dtype, np.integer):
        return samples / -float(np.iinfo(samples.dtype).min)  # 24 bits come as the upper bytes of an int32
    return samples.astype(np.float64)


def check_riff(path: str | PathLike) -> None:
    """Walk over the chunks (8 bytes of header, then the length it gives): scipy only warns when bytes are missing."""
    content = Path(path).read_bytes()
    if content[:4] != b'RIFF' or content[8:12] != b'WAVE':
        raise ValueError(f"'{path}' is no wav file: it starts with {content[:12]!r}, not RIFF....WAVE")
    place, chunks = 12, {}
    while place + 8 <= len(content):
        name, length = struct.unpack_from('<4sI', content, place)
        place += 8
        if place + length > len(content):
            raise ValueError(f"'{path}' is truncated: its {name.decode('latin1')!r} chunk announces {length} bytes and "
                             f"{len(content) - place} are there; fetch the file again")
        chunks.setdefault(name, length)
        place += length + length % 2  # chunks start at even bytes
    missing = [name.decode() for name in (b'fmt ', b'data') if not chunks.get(name)]
    if missing:
        raise ValueError(f"'{path}' has no {' and no '.join(map(repr, missing))} chunk with content: it holds no sound")

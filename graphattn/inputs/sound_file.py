"""Sound files of any kind: wav by `read_wav`, others by soundfile, and other rates by resampling."""

import math
from fractions import Fraction
from os import PathLike
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import scipy.signal

from graphattn.inputs.files import check_file
from graphattn.inputs.wav import ORDERS, read_wav

LARGEST_FACTOR = 10_000  # of a ratio of rates: beyond it filters have millions of taps


def read_sound_file(source: str | PathLike | BinaryIO) -> tuple[np.ndarray, int]:
    """Samples float64 [channels, samples], full scale = 1, and the sample rate in Hz, of a path or a file opened by mode 'rb'.

    Raises:
        ImportError: for other files than wav, if soundfile is not installed.
        ValueError: naming the file, if it is broken or of no known kind.
    """
    if is_wav(source):
        return read_wav(source)
    name = str(getattr(source, "name", source))
    try:
        import soundfile
    except (ImportError, OSError) as error:  # OSError: without its library in C
        raise ImportError(
            f"'{name}' is no wav file; FLAC, OGG and MP3 are read by soundfile ({error}): pip install 'graphattn[audio]'"
        ) from error
    try:
        samples, sample_rate = soundfile.read(source, dtype="float64", always_2d=True)
    except soundfile.LibsndfileError as error:
        raise ValueError(f"cannot read '{name}': {error}") from error
    if not samples.size:
        raise ValueError(f"'{name}' has no samples")
    return samples.T, int(sample_rate)


def is_wav(source: Any) -> bool:
    """By its first bytes, as names may lie."""
    if isinstance(source, str | PathLike):
        check_file(source)
        with Path(source).open("rb") as file:
            return file.read(4) in ORDERS
    if not (hasattr(source, "read") and hasattr(source, "seek")):
        return True  # `read_wav` says what it takes
    place = source.tell()
    start = source.read(4)
    source.seek(place)
    return start in ORDERS


def resample(samples: np.ndarray, sample_rate: float, wanted: float) -> np.ndarray:
    """Samples [channels, samples] at another rate in Hz, by scipy.signal.resample_poly (a filter without phase shift).

    The result is ceil(samples * wanted / sample_rate) long.

    >>> resample(np.ones((1, 441)), 44100, 16000).shape
    (1, 160)
    """
    ratio = Fraction(wanted).limit_denominator(10**6) / Fraction(sample_rate).limit_denominator(10**6)
    if ratio == 1:
        return samples
    if max(ratio.numerator, ratio.denominator) > LARGEST_FACTOR or not math.isfinite(wanted):
        raise ValueError(
            f"rates of {sample_rate} and {wanted} Hz have no simple ratio (got {ratio}); give a 'sample_rate' with one"
        )
    return scipy.signal.resample_poly(samples, ratio.numerator, ratio.denominator, axis=1)

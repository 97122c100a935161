"""Audio: log-mel frames of a sound are the nodes; by default a frame attends to the frames near it."""

import math
import warnings
from collections.abc import Sequence
from numbers import Real
from os import PathLike
from typing import Any, BinaryIO, overload

import numpy as np
import scipy.fft
import scipy.signal
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphattn.graphs import BandedGraph
from graphattn.graphs.sizes import parse_integer
from graphattn.inputs.assemble import assemble
from graphattn.inputs.sound_file import read_sound_file, resample
from graphattn.inputs.wav import read_wav

LOUDEST = 16  # times full scale, more than any recording: then the samples have another scale
LONGEST = 2**22  # samples of a window; its filters take 32 bytes a sample and mel band
MIN_ENERGY = 1e-10  # -100 dB below a sine of full scale: what digital silence becomes before the logarithm


@overload
def from_wav(path: str | PathLike[str] | BinaryIO, sample_rate: float | None = None, **options: Any) -> Data: ...


@overload
def from_wav(
    path: Sequence[str | PathLike[str] | BinaryIO], sample_rate: float | None = None, **options: Any
) -> list[Data]: ...


def from_wav(
    path: str | PathLike[str] | BinaryIO | Sequence[str | PathLike[str] | BinaryIO],
    sample_rate: float | None = None,
    **options: Any,
) -> Data | list[Data]:
    """A wav file as a graph over its log-mel frames; options as in `from_waveform`. Channels are averaged.

    Args:
        path: of a file, or a file opened for reading bytes; a list of these gives a list of Data.
        sample_rate: in Hz, what the file must have. None takes what the file says.

    Raises ValueError, naming the file, where it is broken, and where rates differ from `sample_rate` or among the files:
    frames of one number of mel bands would not mean the same. `from_audio` resamples such files.
    """
    if not isinstance(path, list | tuple):
        return read_sound(path, sample_rate, None, options)
    sounds: list[Data] = []
    for entry in path:
        sounds.append(read_sound(entry, sample_rate, (path[0], sounds[0].sample_rate) if sounds else None, options))
    return sounds


@overload
def from_audio(path: str | PathLike[str] | BinaryIO, sample_rate: float | None = None, **options: Any) -> Data: ...


@overload
def from_audio(
    path: Sequence[str | PathLike[str] | BinaryIO], sample_rate: float | None = None, **options: Any
) -> list[Data]: ...


def from_audio(
    path: str | PathLike[str] | BinaryIO | Sequence[str | PathLike[str] | BinaryIO],
    sample_rate: float | None = None,
    **options: Any,
) -> Data | list[Data]:
    """A sound file as a graph over its log-mel frames, at a rate of one's choice; options as in `from_waveform`.

    Wav files need nothing else; FLAC, OGG, MP3 and whatever else soundfile reads need `pip install graphattn[audio]`.
    Channels are averaged.

    Args:
        path: of a file, or a file opened for reading bytes; a list of these gives a list of Data.
        sample_rate: in Hz, to which other files are resampled. None: each file's own, which must be one for all.

    Raises ValueError, naming the file, where it is broken, and where the files of a list have different rates and no
    `sample_rate` is given; ImportError where soundfile is needed and not installed.
    """
    wanted = None if sample_rate is None else check_sample_rate(sample_rate)
    if not isinstance(path, list | tuple):
        return read_audio(path, wanted, options)
    sounds = [read_audio(entry, wanted, options) for entry in path]
    rates = {sound.sample_rate for sound in sounds}
    if len(rates) > 1:
        raise ValueError(
            f"the files have {sorted(rates)} samples per second; give the 'sample_rate' to bring all of them to"
        )
    return sounds


def read_audio(path: Any, wanted: float | None, options: dict[str, Any]) -> Data:
    samples, found = read_sound_file(path)
    rate = found if wanted is None else wanted
    try:
        return from_waveform(resample(samples, found, rate), rate, **options)
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from error


def read_sound(path: Any, sample_rate: float | None, first: tuple[Any, float] | None, options: dict[str, Any]) -> Data:
    """The sound of a file, whose rate is as asked for, and that of the first file of the call (path, rate)."""
    samples, found = read_wav(path)
    for wanted, of in ((sample_rate, "'sample_rate'"), (first and first[1], first and f"'{first[0]}'")):
        if wanted is not None and found != wanted:
            raise ValueError(
                f"'{path}' has {found} samples per second, {of} {wanted}; resample it first; "
                f"from_audio(path, sample_rate={wanted}) does"
            )
    try:
        return from_waveform(samples, found, **options)
    except ValueError as error:
        raise ValueError(f"'{path}': {error}") from error


def from_waveform(
    waveform: Tensor | np.ndarray,
    sample_rate: float,
    num_mels: int = 40,
    window: float = 0.025,
    hop: float = 0.010,
    before: int | None = 20,
    after: int | None = 20,
    normalize: bool = False,
    edge_index: bool = False,
) -> Data:
    """A sound as a graph over its log-mel frames.

    | attribute   | shape              | meaning
    |-------------|--------------------|--------
    | x           | [frames, num_mels] | natural logarithm of the energy in each mel band, float32
    | pos         | [frames, 1]        | middle of the frame, in seconds
    | sample_rate | number             | as given, in Hz
    | graph       | frames nodes       | frame i attends frames i - before .. i + after, in frames; None: no limit

    Args:
        waveform: floating-point samples [samples] or [channels, samples] (averaged), full scale = 1.
        sample_rate: in Hz. The mel bands reach from 0 to sample_rate / 2.
        window, hop: length of a frame (periodic Hann) and step between frames, in seconds. Only whole frames count, but
            a sound shorter than one window is padded with zeros to one frame.
        normalize: give all values of the sound together mean 0 and standard deviation 1, whatever its loudness.
        edge_index: also store graph.edge_index().

    Raises ValueError on a sound that is empty or holds NaN or infinite samples, TypeError on integers, whose full scale is
    not known. Warns of samples far beyond full scale.

    >>> second = torch.sin(2 * torch.pi * 440 * torch.arange(8000) / 8000)
    >>> data = from_waveform(second, sample_rate=8000)
    >>> data.x.shape, data.pos[0].item()
    (torch.Size([98, 40]), 0.012500000186264515)
    """
    samples, sample_rate = check_waveform(waveform), check_sample_rate(sample_rate)
    length, step = samples_in("window", window, sample_rate), samples_in("hop", hop, sample_rate)
    power = power_frames(samples, length, step, fft_length(length, sample_rate, num_mels))  # [frames, bins]
    energy = power @ mel_filters(num_mels, power.shape[1], sample_rate).T  # [frames, num_mels]
    x = np.log(np.maximum(energy, MIN_ENERGY))  # finite, as the samples are below 1e154
    if normalize:
        x = (x - x.mean()) / np.maximum(x.std(), 1e-5)  # silence becomes 0
    pos = (np.arange(len(x)) * step + length / 2) / sample_rate
    graph = BandedGraph(len(x), before, after)
    middles = torch.from_numpy(pos).float().unsqueeze(1)
    return assemble(torch.from_numpy(x).float(), middles, graph, edge_index, sample_rate=sample_rate)


def check_waveform(waveform: Tensor | np.ndarray) -> np.ndarray:
    """float64 samples [samples] of one channel, finite, at least one."""
    if isinstance(waveform, list | tuple) and any(getattr(entry, "ndim", 0) for entry in waveform):
        raise ValueError(
            f"'waveform' needs to be one sound (got a {type(waveform).__name__} of {len(waveform)}); call once "
            f"for each, or stack the channels of one (numpy.stack)"
        )
    if isinstance(waveform, Tensor):
        waveform = waveform.detach().cpu()
        waveform = waveform.double() if waveform.is_floating_point() else waveform
    samples = np.asarray(waveform)
    if not np.issubdtype(samples.dtype, np.floating):
        scales = {"int32": "divide 32-bit samples by 2147483648", "uint8": "take (samples - 128) / 128"}
        how = scales.get(samples.dtype.name, "divide 16-bit samples by 32768")
        raise TypeError(f"'waveform' needs floating-point samples of full scale 1 (got {samples.dtype}); {how}")
    if samples.ndim not in (1, 2):
        raise ValueError(f"'waveform' needs to be [samples] or [channels, samples] (got shape {list(samples.shape)})")
    if samples.size == 0:
        raise ValueError(f"'waveform' has no samples (got shape {list(samples.shape)})")
    if samples.ndim == 2 and samples.shape[0] > samples.shape[1]:
        raise ValueError(
            f"'waveform' needs to be [channels, samples] (got more channels than samples: "
            f"{list(samples.shape)}); transpose it"
        )
    broken = np.count_nonzero(~np.isfinite(samples))
    if broken:
        raise ValueError(f"'waveform' has {broken} samples of {samples.size} that are NaN or infinite; repair it first")
    samples = np.atleast_2d(samples).astype(np.float64).mean(0)
    check_scale(float(np.abs(samples).max()))
    return samples


def check_scale(peak: float) -> None:
    if peak > 1e150:  # its square is infinite
        raise ValueError(f"'waveform' has samples up to {peak:.3g}, its full scale is 1; divide by it")
    if peak > LOUDEST:
        warnings.warn(
            f"'waveform' has samples up to {peak:.3g} where full scale is 1; divide 16-bit samples by 32768, or "
            f"its energies are not those of other sounds",
            stacklevel=4,
        )


def check_sample_rate(sample_rate: float) -> int | float:
    """Hz as a number of Python, an int where it is whole."""
    if isinstance(sample_rate, Tensor | np.ndarray) and sample_rate.ndim == 0:
        sample_rate = sample_rate.item()
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, Real):
        raise TypeError(f"'sample_rate' needs to be a positive number of Hz (got {sample_rate!r})")
    if not 0 < sample_rate < math.inf:
        raise ValueError(f"'sample_rate' needs to be a positive number of Hz (got {sample_rate})")
    return int(sample_rate) if sample_rate == int(sample_rate) else float(sample_rate)


def samples_in(name: str, seconds: float, sample_rate: float) -> int:
    """A time in whole samples, at least one."""
    if not 0 <= seconds < math.inf or round(seconds * sample_rate) < 1:
        raise ValueError(f"'{name}' needs to be at least one sample long (got {seconds} s at {sample_rate} Hz)")
    if seconds * sample_rate > LONGEST:
        raise ValueError(
            f"'{name}' needs to be at most {LONGEST} samples long (got {seconds} s at {sample_rate} Hz); both "
            f"are in seconds and Hz"
        )
    return round(seconds * sample_rate)


def power_frames(samples: np.ndarray, length: int, step: int, num_fft: int) -> np.ndarray:
    """Power of each windowed frame, [frames, num_fft // 2 + 1].

    Scaled so that a row sums to the mean square of the samples under the window (Parseval; the one half of the spectrum
    stands for both): a sine of amplitude 1 sums to 1/2.
    """
    samples = np.pad(samples, (0, max(0, length - len(samples))))
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[::step]  # [frames, length]
    window = scipy.signal.get_window("hann", length)
    power = np.abs(scipy.fft.rfft(frames * window, num_fft)) ** 2 / (num_fft * np.sum(window**2))
    power[:, 1 : (num_fft + 1) // 2] *= 2  # all but 0 Hz and, for an even length, the highest frequency
    return power


def fft_length(length: int, sample_rate: float, num_mels: int) -> int:
    """The smallest power of two that holds a frame and puts a frequency bin inside every mel filter.

    The second condition counts only for more filters than usual; padding with zeros interpolates the spectrum.
    """
    if parse_integer("num_mels", num_mels, minimum=None) < 1:
        raise ValueError(f"'num_mels' needs to be 1 or more (got {num_mels})")
    num_fft = 2 ** int(np.ceil(np.log2(max(length, 2))))
    while not mel_filters(num_mels, num_fft // 2 + 1, sample_rate).any(1).all():
        num_fft *= 2
    return num_fft


def mel_filters(num_mels: int, num_bins: int, sample_rate: float) -> np.ndarray:
    """Triangular filters of height 1, [num_mels, num_bins], linear in Hz.

    Each reaches from its lower neighbour's centre to its upper neighbour's; all corners are equally spaced in mel, the
    bins in Hz, from 0 to sample_rate / 2. As torchaudio.functional.melscale_fbanks(norm=None, mel_scale='htk').T.
    """
    corners = mel_to_hertz(np.linspace(0, hertz_to_mel(sample_rate / 2), num_mels + 2))  # [num_mels + 2]
    bins = np.linspace(0, sample_rate / 2, num_bins)
    lower, centre, upper = (corners[start : start + num_mels, None] for start in range(3))
    return np.clip(np.minimum((bins - lower) / (centre - lower), (upper - bins) / (upper - centre)), 0, None)


def hertz_to_mel(hertz: Any) -> Any:
    """mel = 2595 log10(1 + hertz / 700): D. O'Shaughnessy, Speech Communication, 1987, p. 150; the formula of HTK.

    >>> round(float(hertz_to_mel(1000)))
    1000
    """
    return 2595 * np.log10(1 + np.asarray(hertz) / 700)


def mel_to_hertz(mel: Any) -> Any:
    """The inverse of `hertz_to_mel`."""
    return 700 * (10 ** (np.asarray(mel) / 2595) - 1)

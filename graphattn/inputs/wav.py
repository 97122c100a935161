"""Wav files: samples between -1 and 1, after a check of everything that the file says about itself."""

import os
import struct
from os import PathLike
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from graphattn.inputs.files import check_file

ORDERS = {b"RIFF": "<", b"RIFX": ">", b"RF64": "<", b"BW64": "<"}  # first letters of the file: order of its bytes
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
WIDTHS = {PCM: (1, 2, 3, 4, 8), FLOAT: (4, 8)}  # bytes of one number
CODINGS = {
    0x02: 'Microsoft ADPCM', 0x06: 'A-law', 0x07: 'mu-law', 0x11: 'IMA ADPCM', 0x31: 'GSM 6.10', 0x50: 'MPEG',
    0x55: 'MP3', 0xFF: 'AAC', 0x161: 'WMA',
}  # fmt: skip
HIGHEST_RATE = 2**22  # in Hz, far above all sounds; with it a window of 25 ms still is small


class Form(NamedTuple):
    """What the 'fmt ' chunk says: how numbers are coded, in how many bytes each, and for how many channels."""

    coding: int
    width: int
    channels: int
    sample_rate: int

    @property
    def frame(self) -> int:
        """Bytes of the numbers of all channels at one time."""
        return self.width * self.channels


def read_wav(source: str | PathLike | BinaryIO) -> tuple[np.ndarray, int]:
    """Samples float64 [channels, samples], full scale = 1, and the sample rate in Hz.

    PCM of 8, 16, 24, 32 and 64 bits and floating point of 32 and 64, in RIFF, RIFX (big-endian) and RF64, plain or
    extensible. `source` is a path or a file opened for reading bytes. What programs write into a pipe, where they know no
    size, ends where the file ends; what lies behind the samples is passed over.

    Raises ValueError, naming the file, if it is no wav file, holds fewer bytes than its headers announce, has no samples,
    contradicts itself, or has another coding.
    """
    content, name = read_bytes(source)
    order = ORDERS.get(content[:4])
    if order is None or content[8:12] != b"WAVE":
        raise ValueError(f"'{name}' is no wav file: it starts with {content[:12]!r}, not RIFF....WAVE")
    form, data = find_sound(content, order, name)
    if len(data) % form.frame:
        raise ValueError(
            f"cannot read '{name}': its {len(data)} bytes of sound are no whole number of frames of {form.frame} bytes"
        )
    samples = decode(data, form, order).reshape(-1, form.channels)
    return samples.T, form.sample_rate  # [channels, samples]


def read_bytes(source: str | PathLike | BinaryIO) -> tuple[bytes, str]:
    """The content of a file, and what to call it."""
    if isinstance(source, str | PathLike):
        check_file(source)
        return Path(source).read_bytes(), os.fspath(source)
    if not hasattr(source, "read"):
        raise TypeError(
            f"a wav file is a path or a file opened for reading bytes (got {type(source).__name__}); wrap "
            f"bytes in io.BytesIO"
        )
    content = source.read()
    if not isinstance(content, bytes):
        raise TypeError(
            f"a wav file is read as bytes (got {type(content).__name__} from {source!r}); open it by mode 'rb'"
        )
    return content, str(getattr(source, "name", type(source).__name__))


def find_sound(content: bytes, order: str, name: str) -> tuple[Form, memoryview]:
    """What the 'fmt ' chunk says, and the content of the 'data' chunk: whole frames if its size is not known.

    Walks over the chunks: 8 bytes of name and size, then the content, then a byte more if its size is odd.
    """
    place = 12
    chunks: dict[bytes, memoryview] = {}
    while place + 8 <= len(content):
        kind, size = struct.unpack_from(f"{order}4sI", content, place)
        place += 8
        if kind == b"data" and chunks.get(b"fmt "):
            form = read_form(chunks[b"fmt "], order, name)
            size = size_of_sound(content, order, place, size, chunks.get(b"ds64", b""))
            if size is None:
                size = (len(content) - place) // form.frame * form.frame
        if place + size > len(content):
            raise ValueError(
                f"'{name}' is truncated: its {kind.decode('latin1')!r} chunk announces {size} bytes and "
                f"{len(content) - place} are there; fetch the file again"
            )
        chunks.setdefault(kind, memoryview(content)[place : place + size])
        if kind == b"data":
            break  # the rest is tags
        place += size + size % 2
    missing = [kind.decode() for kind in (b"fmt ", b"data") if not chunks.get(kind)]
    if missing:
        raise ValueError(f"'{name}' has no {' and no '.join(map(repr, missing))} chunk with content: it holds no sound")
    return form, chunks[b"data"]


def size_of_sound(content: bytes, order: str, place: int, size: int, ds64: bytes | memoryview) -> int | None:
    """Bytes of the 'data' chunk that begins at `place` and whose header says `size`; None if it is not known."""
    if is_unknown(size) and size > len(content) - place:
        if content[:4] not in (b"RF64", b"BW64") or len(ds64) < 16:
            return None
        size = struct.unpack_from("<8xQ", ds64)[0]  # where sizes may be beyond 4 GiB
        return None if size in (0, 2**64 - 1) else size
    whole = struct.unpack_from(f"{order}4xI", content)[0]
    # Programs write sizes that they do not know yet as 0; of an empty sound the size of the whole file is known.
    return None if size == 0 and (is_unknown(whole) or 8 + whole <= place) else size


def is_unknown(size: int) -> bool:
    """Whether a size of 32 bits stands for one that was not known: within 64 KiB of 2 or 4 GiB, as ffmpeg, sox, arecord
    and espeak write it, each less its headers."""
    return 2**31 - 2**16 <= size <= 2**31 or size >= 2**32 - 2**16


def read_form(header: memoryview, order: str, name: str) -> Form:
    """The 'fmt ' chunk, all of it possible."""
    if len(header) < 16:
        raise ValueError(f"cannot read '{name}': its 'fmt ' chunk has {len(header)} bytes, fewer than 16")
    coding, channels, sample_rate, _, frame, bits = struct.unpack_from(f"{order}HHIIHH", header)
    is_extensible = coding == EXTENSIBLE
    if is_extensible:
        coding = coding_of_extension(header, order)
    if coding not in WIDTHS:
        known = CODINGS.get(coding, "an unknown coding")
        raise ValueError(
            f"cannot read '{name}': it holds {known} (0x{coding:04x}); convert it to PCM first, for example by "
            f"ffmpeg -i in.wav -c:a pcm_s16le out.wav"
        )
    width = frame // channels if channels else 0
    spare = 0 if is_extensible else 7  # bits of a number that may be empty
    if width not in WIDTHS[coding] or frame != width * channels or not 0 <= 8 * width - bits <= spare:
        raise ValueError(
            f"cannot read '{name}': its 'fmt ' chunk says {channels} channels of {bits} bits in frames of "
            f"{frame} bytes, which cannot be; write the file again"
        )
    if not 0 < sample_rate <= HIGHEST_RATE:
        raise ValueError(
            f"cannot read '{name}': its 'fmt ' chunk says a sample rate of {sample_rate} Hz, which no sound "
            f"has; write the file again, or read its samples and call from_waveform"
        )
    return Form(coding, width, channels, sample_rate)


def coding_of_extension(header: memoryview, order: str) -> int:
    """The coding that an extensible 'fmt ' chunk names by a GUID {....-0000-0010-8000-00AA00389B71}; 0xFFFE for others."""
    tail = struct.pack(f"{order}HH", 0, 0x10) + bytes.fromhex("800000aa00389b71")
    if len(header) < 40 or header[28:40] != tail:
        return EXTENSIBLE
    return struct.unpack_from(f"{order}I", header, 24)[0]


def decode(data: memoryview, form: Form, order: str) -> np.ndarray:
    """float64 numbers, full scale at 1; those of one byte are unsigned around 128, the other integers are signed."""
    if form.coding == FLOAT:
        return np.frombuffer(data, f"{order}f{form.width}").astype(np.float64)
    if form.width == 1:
        return (np.frombuffer(data, np.uint8).astype(np.float64) - 128) / 128
    if form.width == 3:  # the upper bytes of numbers of four
        wide = np.zeros((len(data) // 3, 4), np.uint8)
        wide[:, slice(1, 4) if order == "<" else slice(3)] = np.frombuffer(data, np.uint8).reshape(-1, 3)
        return wide.reshape(-1).view(f"{order}i4") / 2.0**31
    return np.frombuffer(data, f"{order}i{form.width}") / 2.0 ** (8 * form.width - 1)

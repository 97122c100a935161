"""Wav files written byte by byte here, and read back; broken ones are named and explained."""

import io
import os
import random
import struct
import threading
import tracemalloc

import numpy as np
import pytest
import scipy.io.wavfile

from graphattn.inputs import from_wav
from graphattn.inputs.wav import read_wav

SAMPLES = [[0.0, 0.5], [-0.5, 0.25], [-1.0, 0.0]]  # time by channel; exact in 8 bits


WIDTHS = {8: 1, 16: 2, 24: 3, 32: 4, 64: 8, "float32": 4, "float64": 8}  # in bytes


def encode(value, bits, order="<"):
    """One sample as bytes, by the definition of the format."""
    if bits in ("float32", "float64"):
        return struct.pack(order + {"float32": "f", "float64": "d"}[bits], value)
    if bits == 8:
        return struct.pack("<B", round(value * 128) + 128)
    return round(value * 2 ** (bits - 1)).to_bytes(bits // 8, "little" if order == "<" else "big", signed=True)


def chunk(name, content, order="<"):
    return name + struct.pack(f"{order}I", len(content)) + content + b"\0" * (len(content) % 2)


def wav_bytes(samples, bits, rate=8000, more=b"", order="<", extensible=False):
    channels, width = len(samples[0]), WIDTHS[bits]
    code = 3 if bits in ("float32", "float64") else 1
    numbers = 0xFFFE if extensible else code, channels, rate, rate * channels * width, channels * width, 8 * width
    form = struct.pack(f"{order}HHIIHH", *numbers)
    if extensible:  # valid bits, mask of speakers, and the GUID of the coding
        form += struct.pack(f"{order}HHIIHH", 22, 8 * width, 0, code, 0, 0x10) + bytes.fromhex("800000aa00389b71")
    data = b"".join(encode(value, bits, order) for row in samples for value in row)
    body = b"WAVE" + chunk(b"fmt ", form, order) + more + chunk(b"data", data, order)
    return (b"RIFF" if order == "<" else b"RIFX") + struct.pack(f"{order}I", len(body)) + body


def rf64_bytes(samples, size=None, table=b""):
    """As RIFF of 16 bits, but with the sizes in a chunk 'ds64'."""
    plain = wav_bytes(samples, 16)
    sound = plain[44:]
    sizes = struct.pack("<QQQI", len(plain) + 28, len(sound) if size is None else size, len(samples), 0) + table
    head = b"RF64" + b"\xff" * 4 + b"WAVE" + chunk(b"ds64", sizes) + plain[12:36]
    return head + b"data" + b"\xff" * 4 + sound


def with_sizes(content, whole, data):
    """With other sizes of the file and of its 'data' chunk in the header."""
    return content[:4] + struct.pack("<I", whole) + content[8:40] + struct.pack("<I", data) + content[44:]


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / "sound.wav"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("extensible", [False, True], ids=["plain", "extensible"])
@pytest.mark.parametrize("order", ["<", ">"], ids=["RIFF", "RIFX"])
@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_width(write, bits, channels, order, extensible):
    samples = [row[:channels] for row in SAMPLES]
    read, rate = read_wav(write(wav_bytes(samples, bits, order=order, extensible=extensible)))
    assert rate == 8000 and read.dtype == np.float64
    assert read.tolist() == np.transpose(samples).tolist()


def test_chunks_of_text_are_passed_over(write):
    content = wav_bytes(SAMPLES, 16, more=chunk(b"LIST", b"INFOISFT\x05\0\0\0Lavf\0"))
    assert read_wav(write(content))[0].shape == (2, 3)


@pytest.mark.parametrize("missing", [1, 5, 11])
def test_missing_sound_bytes(write, missing):
    content = wav_bytes(SAMPLES, 16)
    with pytest.raises(
        ValueError, match=rf"sound.wav' is truncated: its 'data' chunk announces 12 bytes and {12 - missing} are"
    ):
        read_wav(write(content[:-missing]))


@pytest.mark.parametrize("kept", [12, 16, 20, 36, 40])
def test_cut_inside_the_headers(write, kept):
    with pytest.raises(ValueError, match=r"sound.wav' (is truncated|has no .* chunk)"):
        read_wav(write(wav_bytes(SAMPLES, 16)[:kept]))


@pytest.mark.parametrize("content", [b"", b"RIFF", b"ID3\x04 this is an mp3 file", b"RIFF\0\0\0\0AVI "])
def test_no_wav_file(write, content):
    with pytest.raises(ValueError, match=r"sound.wav' is no wav file: it starts with b'"):
        read_wav(write(content))


def test_no_samples(write):
    content = wav_bytes(SAMPLES, 16)
    empty = content[:40] + struct.pack("<I", 0)
    with pytest.raises(ValueError, match=r"sound.wav' has no 'data' chunk with content: it holds no sound"):
        read_wav(write(empty))


def test_half_a_frame_of_samples(write):
    content = bytearray(wav_bytes(SAMPLES, 16))
    content[40:44] = struct.pack("<I", 10)  # two and a half stereo frames, all bytes there
    with pytest.raises(ValueError, match=r"cannot read '.*sound.wav'"):
        read_wav(write(bytes(content[:-2])))


def test_a_coding_that_scipy_cannot_read(write):
    content = bytearray(wav_bytes(SAMPLES, 16))
    content[20:22] = struct.pack("<H", 0x55)  # MP3 inside a wav file
    with pytest.raises(ValueError, match=r"cannot read '.*sound.wav': .*convert it to PCM"):
        read_wav(write(bytes(content)))


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        read_wav(tmp_path / "nowhere.wav")


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i2", "<i4", "<f4", "<f8", ">f4"])
def test_what_scipy_writes(tmp_path, dtype):
    numbers = np.random.default_rng(0).normal(scale=0.2, size=(50, 2)).clip(-1, 0.99)
    scale = {"u1": 128, "i2": 2**15, "i4": 2**31}.get(dtype[-2:], 1)
    written = (numbers * scale + (128 if dtype == "u1" else 0)).astype(dtype)
    scipy.io.wavfile.write(tmp_path / "sound.wav", 44100, written)
    read, rate = read_wav(tmp_path / "sound.wav")
    assert rate == 44100
    np.testing.assert_array_equal(read.T, (written.astype(float) - (128 if dtype == "u1" else 0)) / scale)


def test_twelve_bits_in_sixteen(write):
    content = bytearray(wav_bytes([[0.5], [-0.25]], 16))
    content[34:36] = struct.pack("<H", 12)  # the upper ones, by the definition of the format
    assert read_wav(write(bytes(content)))[0].tolist() == [[0.5, -0.25]]


STREAMS = {
    "ffmpeg": (2**32 - 1, 2**32 - 1),
    "sox and espeak": (0x7FFFF024, 0x7FFFF000),
    "arecord": (0x80000024, 0x80000000),
    "zeros": (0, 0),
    "header written once": (36, 0),
    "only the whole is unknown": (2**32 - 1, 0),
}


@pytest.mark.parametrize("sizes", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("tail", [b"", b"\1", b"\1\2\3"])
def test_streams_end_where_the_file_ends(write, sizes, tail):
    content = wav_bytes(SAMPLES, 16)
    read, _ = read_wav(write(with_sizes(content, *sizes) + tail))  # a part of a frame is left out
    assert read.tolist() == np.transpose(SAMPLES).tolist()
    with pytest.raises(ValueError, match="no 'data' chunk with content"):
        read_wav(write(with_sizes(content, *sizes)[:44] + tail))


def test_an_empty_sound_is_no_stream(write):
    content = wav_bytes(SAMPLES, 16)[:44] + chunk(b"LIST", b"INFOISFT\x06\0\0\0Lavf6\0")
    with pytest.raises(ValueError, match="no 'data' chunk with content"):
        read_wav(write(with_sizes(content, len(content) - 8, 0)))


@pytest.mark.parametrize(
    "tail", [b"TAG" + b"x" * 125, chunk(b"LIST", b"INFO"), b"\0", b"junk", b"data\xff\xff\xff\xff"]
)
def test_what_lies_behind_the_samples_is_passed_over(write, tail):
    assert read_wav(write(wav_bytes(SAMPLES, 16) + tail))[0].tolist() == np.transpose(SAMPLES).tolist()


@pytest.mark.parametrize("text", [b"abc", b"abcd", b""])
def test_chunks_of_odd_length_are_followed_by_a_byte(write, text):
    more = chunk(b"LIST", b"INFO" + text) + chunk(b"bext", text) + chunk(b"fact", b"\3\0\0\0")
    assert read_wav(write(wav_bytes(SAMPLES, 24, more=more)))[0].tolist() == np.transpose(SAMPLES).tolist()


@pytest.mark.parametrize("size", [None, 0, 2**64 - 1], ids=["known", "zero", "unknown"])
def test_sizes_beyond_four_gigabytes(write, size):
    read, _ = read_wav(write(rf64_bytes(SAMPLES, size)))
    assert read.tolist() == np.transpose(SAMPLES).tolist()
    bw64 = b"BW64" + rf64_bytes(SAMPLES, size, table=b"levl" + struct.pack("<Q", 5))[4:]
    assert read_wav(write(bw64))[0].tolist() == read.tolist()


def test_a_size_that_is_not_there_takes_no_memory(write):
    tracemalloc.start()
    try:
        for content in (rf64_bytes(SAMPLES, 2**50), with_sizes(wav_bytes(SAMPLES, 16), 100, 2**31 - 2**17)):
            with pytest.raises(ValueError, match=r"'data' chunk announces \d{10,} bytes and 12 are there"):
                read_wav(write(content))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_an_open_file_and_a_pipe(tmp_path):
    content = with_sizes(wav_bytes(SAMPLES, 16), 0, 0)
    wanted = np.transpose(SAMPLES).tolist()
    assert read_wav(io.BytesIO(content))[0].tolist() == wanted
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    assert read_wav(pipe)[0].tolist() == wanted
    writer.join()
    with pytest.raises(TypeError, match=r"got bytes\); wrap bytes in io.BytesIO"):
        read_wav(content)
    with pytest.raises(TypeError, match="read as bytes .*open it by mode 'rb'"):
        read_wav(io.StringIO("RIFF"))


def with_form(place, value, kind="H"):
    content = bytearray(wav_bytes(SAMPLES, 16))
    struct.pack_into(f"<{kind}", content, place, value)
    return bytes(content)


CONTRADICTIONS = {
    "no channels": with_form(22, 0),
    "three channels": with_form(22, 3),
    "no bytes": with_form(32, 0),
    "too many bytes": with_form(32, 8),
    "odd bytes": with_form(32, 5),
    "no bits": with_form(34, 0),
    "too many bits": with_form(34, 17),
    "too few bits": with_form(34, 8),
    "no rate": with_form(24, 0, "I"),
    "rate": with_form(24, 2**31, "I"),
    "floats of 16 bits": with_form(20, 3),
    "short form": wav_bytes(SAMPLES, 16)[:16] + struct.pack("<I", 14) + wav_bytes(SAMPLES, 16)[20:34] + b"data\0\0\0\0",
}


@pytest.mark.parametrize("content", CONTRADICTIONS.values(), ids=CONTRADICTIONS)
def test_contradictions_in_the_header(write, content):
    with pytest.raises(ValueError, match="cannot read '.*sound.wav': its 'fmt ' chunk"):
        read_wav(write(content))


@pytest.mark.parametrize(
    "coding, name", [(2, "Microsoft ADPCM"), (6, "A-law"), (7, "mu-law"), (0x55, "MP3"), (0x1234, "an unknown coding")]
)
@pytest.mark.parametrize("extensible", [False, True])
def test_other_codings_are_named(write, coding, name, extensible):
    content = bytearray(wav_bytes(SAMPLES, 8, extensible=extensible))
    struct.pack_into("<H", content, 44 if extensible else 20, coding)
    with pytest.raises(ValueError, match=rf"cannot read '.*': it holds {name} \(0x{coding:04x}\); convert it to PCM"):
        read_wav(write(bytes(content)))


def test_a_form_whose_extension_is_missing(write):
    with pytest.raises(ValueError, match=r"it holds an unknown coding \(0xfffe\)"):
        read_wav(write(with_form(20, 0xFFFE)))


@pytest.mark.parametrize(
    "content",
    [
        wav_bytes([[0.1, -0.1]] * 300, 16),
        wav_bytes([[0.1]] * 300, 24, extensible=True, more=chunk(b"LIST", b"INFOx")),
        wav_bytes([[0.1]] * 300, "float32", order=">"),
        rf64_bytes([[0.1]] * 300),
        with_sizes(wav_bytes([[0.1]] * 300, 16), 0, 0),
    ],
    ids=["RIFF", "extensible", "RIFX", "RF64", "stream"],
)
@pytest.mark.filterwarnings("ignore:'waveform' has samples up to")
def test_a_broken_header_is_a_sound_or_a_value_error(content):
    """Every cut, every byte of the header turned over, and some of them together."""
    draw = random.Random(0)
    broken = [content[:end] for end in (*range(120), len(content) - 1)]
    for place in range(100):
        broken += [content[:place] + bytes([byte]) + content[place + 1 :] for byte in (0, 1, 127, 128, 255)]
    for _ in range(300):
        bytes_of = bytearray(content)
        for _ in range(draw.choice([2, 3, 5])):
            bytes_of[draw.randrange(100)] = draw.randrange(256)
        broken.append(bytes(bytes_of))
    results = [kind_of_result(one) for one in broken]
    assert set(results) == {"sound", "ValueError"}


def kind_of_result(content):
    try:
        data = from_wav(io.BytesIO(content))
    except ValueError:
        return "ValueError"
    assert data.x.isfinite().all()
    return "sound"

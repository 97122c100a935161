"""Wav files written byte by byte here, and read back; broken ones are named and explained."""

import struct

import numpy as np
import pytest

from graphattn.inputs.wav import read_wav

SAMPLES = [[0.0, 0.5], [-0.5, 0.25], [-1.0, 0.0]]  # time by channel; exact in 8 bits


def encode(value, bits):
    """One sample as bytes, by the definition of the format."""
    if bits == 'float32':
        return struct.pack('<f', value)
    if bits == 8:
        return struct.pack('<B', round(value * 128) + 128)
    return round(value * 2 ** (bits - 1)).to_bytes(bits // 8, 'little', signed=True)


def chunk(name, content):
    return name + struct.pack('<I', len(content)) + content + b'\0' * (len(content) % 2)


def wav_bytes(samples, bits, rate=8000, more=b''):
    channels, width = len(samples[0]), 4 if bits == 'float32' else bits // 8
    code = 3 if bits == 'float32' else 1
    form = struct.pack('<HHIIHH', code, channels, rate, rate * channels * width, channels * width, 8 * width)
    data = b''.join(encode(value, bits) for row in samples for value in row)
    body = b'WAVE' + chunk(b'fmt ', form) + more + chunk(b'data', data)
    return b'RIFF' + struct.pack('<I', len(body)) + body


@pytest.fixture
def write(tmp_path):
    def write(content):
        path = tmp_path / 'sound.wav'
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize('bits', [8, 16, 24, 32, 'float32'])
@pytest.mark.parametrize('channels', [1, 2])
def test_every_width(write, bits, channels):
    samples = [row[:channels] for row in SAMPLES]
    read, rate = read_wav(write(wav_bytes(samples, bits)))
    assert rate == 8000 and read.dtype == np.float64
    assert read.tolist() == np.transpose(samples).tolist()


def test_chunks_of_text_are_passed_over(write):
    content = wav_bytes(SAMPLES, 16, more=chunk(b'LIST', b'INFOISFT\x05\0\0\0Lavf\0'))
    assert read_wav(write(content))[0].shape == (2, 3)


@pytest.mark.parametrize('missing', [1, 5, 11])
def test_missing_sound_bytes(write, missing):
    content = wav_bytes(SAMPLES, 16)
    with pytest.raises(
        ValueError, match=rf"sound.wav' is truncated: its 'data' chunk announces 12 bytes and {12 - missing} are"
    ):
        read_wav(write(content[:-missing]))


@pytest.mark.parametrize('kept', [12, 16, 20, 36, 40])
def test_cut_inside_the_headers(write, kept):
    with pytest.raises(ValueError, match=r"sound.wav' (is truncated|has no .* chunk)"):
        read_wav(write(wav_bytes(SAMPLES, 16)[:kept]))


@pytest.mark.parametrize('content', [b'', b'RIFF', b'ID3\x04 this is an mp3 file', b'RIFF\0\0\0\0AVI '])
def test_no_wav_file(write, content):
    with pytest.raises(ValueError, match=r"sound.wav' is no wav file: it starts with b'"):
        read_wav(write(content))


def test_no_samples(write):
    content = wav_bytes(SAMPLES, 16)
    empty = content[:40] + struct.pack('<I', 0)
    with pytest.raises(ValueError, match=r"sound.wav' has no 'data' chunk with content: it holds no sound"):
        read_wav(write(empty))


def test_half_a_frame_of_samples(write):
    content = bytearray(wav_bytes(SAMPLES, 16))
    content[40:44] = struct.pack('<I', 10)  # two and a half stereo frames, all bytes there
    with pytest.raises(ValueError, match=r"cannot read '.*sound.wav'"):
        read_wav(write(bytes(content[:-2])))


def test_a_coding_that_scipy_cannot_read(write):
    content = bytearray(wav_bytes(SAMPLES, 16))
    content[20:22] = struct.pack('<H', 0x55)  # MP3 inside a wav file
    with pytest.raises(ValueError, match=r"cannot read '.*sound.wav': .*convert it to PCM"):
        read_wav(write(bytes(content)))


def test_no_such_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere'):
        read_wav(tmp_path / 'nowhere.wav')

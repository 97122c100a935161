import io
import sys
import wave

import numpy as np
import pytest
import torch

from graphattn.inputs import from_audio, from_wav, from_waveform

RATE = 8000
SINE = 0.5 * np.sin(2 * np.pi * 440 * np.arange(RATE) / RATE)


def write_wav(path, samples=SINE, rate=RATE):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


@pytest.mark.parametrize("kind", ["flac", "ogg", "mp3"])
def test_other_kinds_hold_the_same_sound(kind, tmp_path):
    soundfile = pytest.importorskip("soundfile", reason="needs graphattn[audio]")
    path = tmp_path / f"sound.{kind}"
    soundfile.write(path, SINE, RATE)
    wanted = from_wav(write_wav(tmp_path / "sound.wav"))
    for source in (path, str(path), io.BytesIO(path.read_bytes())):
        data = from_audio(source)
        assert data.sample_rate == RATE
        frames = min(len(data.x), len(wanted.x)) - 4  # MP3 is some samples longer
        loudest = wanted.x.max(1).values
        same_band = data.x[4:frames].argmax(1) == wanted.x[4:frames].argmax(1)
        assert same_band.float().mean() > 0.9
        torch.testing.assert_close(data.x[4:frames].max(1).values, loudest[4:frames], atol=0.3, rtol=0)


def test_channels_are_averaged(tmp_path):
    soundfile = pytest.importorskip("soundfile", reason="needs graphattn[audio]")
    path = tmp_path / "two.flac"
    soundfile.write(path, np.stack([SINE, 0 * SINE], 1), RATE, subtype="PCM_24")
    torch.testing.assert_close(from_audio(path).x, from_waveform(SINE / 2, RATE).x, atol=1e-3, rtol=0)


def test_wav_needs_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    path = write_wav(tmp_path / "sound.flac")  # told by its content, not its name
    assert torch.equal(from_audio(path).x, from_wav(path).x)
    other = tmp_path / "other.flac"
    other.write_bytes(b"fLaC....")
    with pytest.raises(ImportError, match=r"other.flac' is no wav file; FLAC, OGG and MP3.*graphattn\[audio\]"):
        from_audio(other)


@pytest.mark.parametrize("wanted", [4000, 11025, 16000, 8000])
def test_resampling(wanted, tmp_path):
    data = from_audio(write_wav(tmp_path / "sound.wav"), sample_rate=wanted)
    again = from_waveform(0.5 * np.sin(2 * np.pi * 440 * np.arange(wanted) / wanted), wanted)
    assert data.sample_rate == wanted and data.x.shape == again.x.shape
    middle = slice(5, -5)
    torch.testing.assert_close(data.x[middle].max(1).values, again.x[middle].max(1).values, atol=0.02, rtol=0)
    torch.testing.assert_close(data.pos, again.pos)


def test_frequencies_above_the_new_half_rate_are_filtered_out(tmp_path):
    high = 0.5 * np.sin(2 * np.pi * 3000 * np.arange(RATE) / RATE)
    data = from_audio(write_wav(tmp_path / "high.wav", high), sample_rate=4000)
    assert data.x[5:-5].max() < from_waveform(high, RATE).x.max() - 8  # 35 dB


def test_lists_have_one_rate(tmp_path):
    paths = [write_wav(tmp_path / "a.wav"), write_wav(tmp_path / "b.wav", SINE[:4000], 4000)]
    assert [data.sample_rate for data in from_audio(paths, sample_rate=4000, num_mels=20)] == [4000, 4000]
    with pytest.raises(ValueError, match=r"have \[4000, 8000\] samples per second; give the 'sample_rate'"):
        from_audio(paths)


def test_errors_name_the_file(tmp_path):
    path = write_wav(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=r"a.wav': rates of 8000 and 7919.123 Hz have no simple ratio"):
        from_audio(path, sample_rate=7919.123)
    with pytest.raises(ValueError, match="a.wav': 'num_mels' needs to be 1 or more"):
        from_audio(path, num_mels=0)
    with pytest.raises(FileNotFoundError):
        from_audio(tmp_path / "none.wav")
    with pytest.raises(TypeError, match="a wav file is a path or a file opened for reading bytes"):
        from_audio(3)
    pytest.importorskip("soundfile", reason="needs graphattn[audio]")
    broken = tmp_path / "broken.flac"
    broken.write_bytes(b"fLaC" + bytes(50))
    with pytest.raises(ValueError, match=r"cannot read '.*broken.flac'"):
        from_audio(broken)

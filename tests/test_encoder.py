from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import soundfile
import torch

import spkver
from spkver import audio
from spkver.config import validate
from spkver.encoder import Encoder, EncoderConfig, identity, pick_device
from spkver.errors import InputError
from spkver.features import FrontEnd

XVECTOR = {"name": "xvector", "channels": 8, "pooled_channels": 12, "dim": 6}
RESNET = {"name": "resnet", "depth": 18, "channels": 4, "dim": 6}


def build(seed=0, **keys) -> Encoder:
    torch.manual_seed(seed)
    encoder = Encoder(validate(EncoderConfig, {"model": XVECTOR} | keys)).eval()
    for module in encoder.modules():  # random statistics, as after training
        if isinstance(module, torch.nn.BatchNorm1d | torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.5, 0.5)
            torch.nn.init.uniform_(module.running_var, 0.5, 2)
    return encoder


def noise(seconds=1.0, rate=16000, seed=0) -> np.ndarray:
    return (0.1 * np.random.default_rng(seed).normal(size=int(seconds * rate))).astype(np.float32)


@pytest.fixture
def model(tmp_path) -> Path:
    build().save(tmp_path / "model", card="# a card\n")
    return tmp_path / "model"


@pytest.mark.parametrize("network", [XVECTOR, RESNET, {"name": "mean_fbank"}])
def test_saved_encoder_opens_with_identical_weights(tmp_path, network):
    front_end = {"normalise": "none"} if network["name"] == "mean_fbank" else {"name": "telephone"}
    encoder = build(model=network, front_end=front_end)
    encoder.save(tmp_path / "model")
    loaded = spkver.load_model(tmp_path / "model")
    assert loaded.config == encoder.config and not loaded.training
    assert loaded.model_id == encoder.model_id == identity(tmp_path / "model")
    assert np.array_equal(loaded.embed(noise()), encoder.embed(noise()))
    assert {path.name for path in (tmp_path / "model").iterdir()} == {"model.safetensors", "config.yaml", "card.md"}


def test_identity_changes_with_weights_and_config(tmp_path):
    seen = set()
    for number, encoder in enumerate(
        [build(), build(seed=1), build(front_end={"window": "hamming"}), build(model=XVECTOR | {"channels": 9})]
    ):
        encoder.save(tmp_path / str(number))
        seen.add(identity(tmp_path / str(number)))
    assert len(seen) == 4
    build().save(tmp_path / "again", card="another card")
    assert identity(tmp_path / "again") in seen


def test_embedding_is_network_output_for_front_end_features():
    encoder = build()
    waveform = torch.from_numpy(noise())[None]
    with torch.inference_mode():
        expected = encoder.network(FrontEnd(encoder.config.front_end).eval()(waveform))[0].numpy()
    assert np.array_equal(encoder.embed(noise()), expected)
    assert expected.dtype == np.float32 and expected.shape == (6,)


def test_embed_accepts_files_arrays_and_tensors(tmp_path):
    encoder = build()
    samples = audio.to_int16(noise())
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    expected = encoder.embed(tmp_path / "a.wav")
    waveform = audio.from_int16(samples)
    for same in (str(tmp_path / "a.wav"), waveform, waveform.astype(float), torch.from_numpy(waveform), samples):
        assert np.array_equal(encoder.embed(same), expected)
    assert np.array_equal(encoder.embed(waveform, 16000), expected)
    soundfile.write(tmp_path / "b.wav", noise(rate=8000), 8000, subtype="FLOAT")
    assert np.array_equal(encoder.embed(tmp_path / "b.wav"), encoder.embed(noise(rate=8000), 8000))


@pytest.mark.parametrize("network", [XVECTOR, RESNET])
@pytest.mark.parametrize("front_end", [{}, {"name": "wespeaker"}])
def test_short_recordings_are_rejected_or_give_finite_embeddings(network, front_end):
    encoder = build(model=network, front_end=front_end)
    least = encoder.min_samples
    for samples in range(least, least + 400, 37):
        assert np.isfinite(encoder.embed(noise()[:samples])).all()
    assert encoder.config.front_end.frames(least) == encoder.network.min_frames
    for samples in (least - 1, 160, 1):
        with pytest.raises(InputError, match="the waveform: too short"):
            encoder.embed(noise()[:samples])


def _wav(path, samples, rate=16000):
    soundfile.write(path, samples, rate, format="WAV", subtype="FLOAT")


def _truncated(path):
    soundfile.write(path, noise(), 16000, subtype="PCM_16")
    path.write_bytes(path.read_bytes()[:10000])


BAD = {
    "too short": lambda path: _wav(path, noise(0.01)),
    "silent": lambda path: _wav(path, np.zeros(16000)),
    "NaN": lambda path: _wav(path, np.full(16000, np.nan)),
    "30 channels": lambda path: _wav(path, np.stack([noise(0.2)] * 30, axis=1)),
    "empty": lambda path: path.write_bytes(b""),
    "no samples": lambda path: _wav(path, np.zeros(0)),
    "truncated": _truncated,
    "not audio|cannot be decoded|unknown|not recognised": lambda path: path.write_text("hello, this is text"),
    "bad.wav": lambda path: None,
}


@pytest.mark.parametrize("reason", BAD)
def test_unusable_recording_is_named(tmp_path, reason):
    path = tmp_path / "bad.wav"
    BAD[reason](path)
    with pytest.raises(InputError, match=f"(?s){path}.*({reason})|{path}") as caught:
        build().embed(path)
    assert len(str(caught.value).splitlines()) == 1
    assert reason in str(caught.value) or "|" in reason


@pytest.mark.parametrize(
    ("waveform", "reason"),
    [
        (np.zeros(0, np.float32), "empty"),
        (np.zeros(16000, np.float32), "silent"),
        (np.full(16000, np.inf, np.float32), "NaN or infinite"),
        (np.zeros((2, 16000), np.float32), "give one channel"),
    ],
)
@pytest.mark.parametrize("rate", [None, 8000])
def test_unusable_waveform_is_rejected(waveform, reason, rate):
    with pytest.raises(InputError, match=f"the waveform.*{reason}"):
        build().embed(waveform, rate)


@pytest.mark.parametrize("rate", [0, -1, 1999, 192001, 8000.5, float("nan"), float("inf"), "8000", True, [8000], 8000j])
@pytest.mark.parametrize("samples", [0, 16000])
def test_invalid_sample_rate_is_rejected(samples, rate):
    with pytest.raises(InputError, match=r"the waveform: the sample rate .* is not an integer from"):
        build().embed(noise()[:samples], rate)


@pytest.mark.parametrize("rate", [8000.0, np.int64(8000), np.float32(8000), torch.tensor(8000)])
def test_sample_rate_of_any_number_type_is_accepted(rate):
    assert np.array_equal(build().embed(noise(), rate), build().embed(noise(), 8000))


def test_embed_in_training_mode_is_an_error():
    with pytest.raises(RuntimeError, match="eval"):
        build().train().embed(noise())


# --- what loading refuses ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["config.yaml", "model.safetensors"])
def test_open_names_a_missing_file(model, name):
    (model / name).unlink()
    with pytest.raises(InputError, match=f"not a model directory \\(no {name}\\)"):
        Encoder.open(model)


def test_open_rejects_a_path_that_is_no_directory(tmp_path):
    with pytest.raises(InputError, match="not a model directory"):
        Encoder.open(tmp_path / "nowhere")


def test_open_lists_weights_that_do_not_match(model):
    tensors = safetensors.torch.load_file(model / "model.safetensors")
    tensors["segment.0.weight"] = torch.zeros(6, 99)
    tensors["extra"] = torch.zeros(1)
    del tensors["frame.0.bias"]
    safetensors.torch.save_file(tensors, model / "model.safetensors")
    with pytest.raises(InputError, match="weights of another model") as caught:
        Encoder.open(model)
    for word in ("missing frame.0.bias", "extra extra", "segment.0.weight is (6, 99), not (6, 24)"):
        assert word in str(caught.value)


@pytest.mark.parametrize("keep", [0, 7, 100, -1])
def test_open_rejects_truncated_weights(model, keep):
    path = model / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(InputError, match=r"model\.safetensors: cannot be read"):
        Encoder.open(model)


@pytest.mark.parametrize(
    "text",
    [
        "model: !!python/object/apply:os.system ['touch {}']",
        "!!python/object/new:os.system ['touch {}']",
        "model: !!python/name:os.system xvector",
    ],
)
def test_config_cannot_run_code(model, tmp_path, text):
    (model / "config.yaml").write_text(text.format(tmp_path / "touched"))
    with pytest.raises(InputError, match=r"config\.yaml:1: the tag !!python"):
        Encoder.open(model)
    assert not (tmp_path / "touched").exists()


def test_open_rejects_pickled_weights(model):
    torch.save({"a": torch.zeros(1)}, model / "model.safetensors")
    with pytest.raises(InputError, match="cannot be read"):
        Encoder.open(model)


def test_open_names_an_unknown_key_of_the_config(model):
    with (model / "config.yaml").open("a") as stream:
        stream.write("novelty: 1\n")
    lines = len((model / "config.yaml").read_text().splitlines())
    with pytest.raises(InputError, match=rf"config\.yaml:{lines}: unknown key 'novelty'"):
        Encoder.open(model)


def test_open_rejects_an_unavailable_device(model):
    assert pick_device("cpu").type == "cpu"
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    for absent in ("cuda:63", "teapot"):
        with pytest.raises(InputError, match=f"device '{absent}' cannot be used here") as caught:
            Encoder.open(model, absent)
        assert len(str(caught.value).splitlines()) == 1


def test_identity_is_a_hash_of_config_and_weights(model):
    content = (model / "config.yaml").read_bytes() + (model / "model.safetensors").read_bytes()
    assert identity(model) == hashlib.sha256(content).hexdigest()[:32]


# --- lists, long recordings, unusual and invalid waveforms ------------------------------------------------------------


@pytest.mark.parametrize("network", [XVECTOR, RESNET])
def test_list_gives_the_same_embeddings_as_single_calls(tmp_path, network):
    encoder = build(model=network)
    soundfile.write(tmp_path / "a.wav", noise(0.7, seed=9), 16000)
    several = [noise(seconds, seed=seed) for seed, seconds in enumerate((0.5, 0.8, 0.5, 1.1, 0.5))]
    several = [*several, tmp_path / "a.wav", torch.from_numpy(several[1]), audio.to_int16(several[3])]
    expected = np.stack([encoder.embed(one) for one in several])
    found = encoder.embed(several)
    assert found.dtype == np.float32 and found == pytest.approx(expected, abs=1e-5)
    assert encoder.embed(tuple(several[:1])) == pytest.approx(expected[:1], abs=1e-5)
    assert encoder.embed([]).shape == (0, 6)


def test_lists_are_batched_by_length_with_a_bounded_buffer(monkeypatch):
    encoder = build()
    several = [noise(0.5 if row % 2 else 0.3, seed=row) for row in range(8)]
    expected = np.stack([encoder.embed(one) for one in several])
    sizes = []
    batch = encoder.embed_batch
    monkeypatch.setattr(encoder, "embed_batch", lambda waveforms: sizes.append(waveforms.shape) or batch(waveforms))
    assert encoder.embed(several) == pytest.approx(expected, abs=1e-5)
    assert sorted(sizes) == [(4, 4800), (4, 8000)]
    monkeypatch.setattr("spkver.encoder._HELD_SECONDS", 1.0)
    sizes.clear()
    assert encoder.embed(several) == pytest.approx(expected, abs=1e-5)
    assert len(sizes) > 2 and sum(size for size, _ in sizes) == 8


def test_unusable_recording_in_a_list_is_named(tmp_path):
    (tmp_path / "bad.wav").write_bytes(b"")
    with pytest.raises(InputError, match=r"bad\.wav: empty"):
        build().embed([noise(), tmp_path / "bad.wav"])
    with pytest.raises(InputError, match="waveform 2 of 3: silent"):
        build().embed([noise(), np.zeros(16000, np.float32), noise()])


@pytest.mark.parametrize("network", [XVECTOR, RESNET])
def test_long_recording_gives_the_mean_over_equal_windows(network):
    encoder = build(model=network)
    long = noise(3.5)
    whole = encoder.embed(long)
    encoder.whole_seconds = 3.5
    assert np.array_equal(encoder.embed(long), whole)
    encoder.whole_seconds = 1.0  # four windows of 0.875 s
    parts = np.stack([encoder.embed(part) for part in np.split(long, 4)])
    assert encoder.embed(long) == pytest.approx(parts.mean(axis=0), abs=1e-5)
    assert encoder.embed_batch(np.stack([long, long])) == pytest.approx(np.stack(2 * [parts.mean(axis=0)]), abs=1e-5)
    silent = np.concatenate([long, np.zeros(16000, np.float32), long])  # silent windows are ignored
    encoder.whole_seconds = 0.5
    assert np.isfinite(encoder.embed(silent)).all()
    assert encoder.embed(np.concatenate([long[:8000], np.zeros(24000, np.float32)])) == pytest.approx(
        encoder.embed(long[:8000]), abs=1e-6
    )


def test_windows_have_equal_length_and_cover_the_recording():
    """If the length is not divisible, they overlap slightly."""
    encoder, seen = build(), []
    encoder.front_end.register_forward_pre_hook(lambda module, given: seen.append(given[0][0].numpy()))
    long = noise(4.0)[:52801]
    encoder.whole_seconds = 1.0
    encoder.embed(long)
    assert [len(window) for window in seen] == [13201] * 4
    assert np.array_equal(seen[0], long[:13201]) and np.array_equal(seen[-1], long[-13201:])
    places = [int(np.flatnonzero(long == window[0])[0]) for window in seen]
    assert max(np.diff(places)) <= 13201  # no gaps


def test_windows_of_features_are_normalised_separately():
    """Features in a pack have the mean of the utterance removed; a window is treated like a recording of its length."""
    encoder = build()
    with torch.inference_mode():
        features = encoder.front_end(torch.from_numpy(noise(2.0))[None]).numpy()
    drift = features + np.linspace(-3, 3, features.shape[1])[None, :, None].round().astype(np.float32)
    encoder.whole_seconds = 0.5
    parts = [part - part.mean(axis=1, keepdims=True) for part in np.split(drift, 4, axis=1)]
    windows = [encoder.embed_features(part)[0] for part in parts]
    assert encoder.embed_features(drift)[0] == pytest.approx(np.mean(windows, axis=0), abs=1e-4)


@pytest.mark.parametrize("front_end", ["fbank", "w2v_bert", "voxceleb_trainer", "voxceleb_trainer_linear"])
def test_embed_features_equals_embed_of_the_recording(front_end):
    encoder = build(front_end=front_end)
    quiet = noise() / 100
    with torch.inference_mode():
        features = encoder.front_end(torch.from_numpy(quiet)[None]).numpy()
    assert encoder.embed_features(features)[0] == pytest.approx(encoder.embed(quiet), abs=1e-5)


def test_long_features_are_cut_like_long_recordings():
    encoder = build()
    long = noise(4.0)
    with torch.inference_mode():
        features = encoder.front_end(torch.from_numpy(long)[None]).numpy()
    encoder.whole_seconds = 1.0
    from_features, from_audio = encoder.embed_features(features)[0], encoder.embed(long)
    cosine = from_features @ from_audio / np.linalg.norm(from_features) / np.linalg.norm(from_audio)
    assert cosine > 0.999  # features at window edges depend on samples outside of the window
    encoder.whole_seconds = 4.0
    assert encoder.embed_features(features)[0] == pytest.approx(encoder.embed(long), abs=1e-4)


def test_recording_longer_than_an_hour_is_rejected(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", noise(2.0), 16000)
    monkeypatch.setitem(audio.read.__kwdefaults__, "max_seconds", 1.5)
    with pytest.raises(InputError, match=r"a\.wav: too long \(2\.0 s, maximum 1\.5 s\)"):
        build().embed(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (np.zeros(16000, np.int32), "samples of type int32; give int16, or floats"),
        (np.zeros(16000, bool), "samples of type bool"),
        (np.zeros(16000, np.uint8), "samples of type uint8"),
        (np.zeros(16000, np.complex64), "samples of type complex64"),
        (np.zeros(16000, object), "samples of type object"),
        (1e300 * noise().astype(np.float64), "NaN or infinite samples"),
        (torch.zeros(16000, dtype=torch.int32), "samples of type int32"),
        (torch.zeros(16000, device="meta"), "cannot read a tensor of torch.float32"),
        (torch.zeros(16000).to_sparse(), "cannot read a tensor of torch.float32"),
        (32768 * noise(), "where full scale is 1; divide the samples by 32768"),
        (noise().reshape(2, -1), "give one channel"),
        (noise()[:, None], "give one channel"),
        (3, "expected a file or a waveform, got int"),
        (None, "expected a file or a waveform, got NoneType"),
    ],
)
def test_input_that_is_no_waveform_is_rejected(given, said):
    with pytest.raises(InputError, match=said) as caught:
        build().embed(given)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize("dtype", [">i2", "<i2", ">f4", "f2", "f8", "longdouble"])
def test_samples_of_any_byte_order_and_precision_are_accepted(dtype):
    samples = (noise() * 32767).astype("i2")
    given = samples.astype(dtype) if dtype.endswith("i2") else (samples / 32768).astype(dtype)
    expected = build().embed(samples)
    assert np.abs(build().embed(given) - expected).max() < (1e-2 if dtype == "f2" else 1e-6) * np.abs(expected).max()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_tensors_of_any_precision_are_accepted(dtype):
    waveform = torch.from_numpy(noise()).to(dtype).requires_grad_()
    assert np.array_equal(build().embed(waveform), build().embed(waveform.detach().float()))


def test_waveform_with_one_channel_axis_is_accepted():
    assert np.array_equal(build().embed(noise()[None]), build().embed(noise()))


@pytest.mark.parametrize("network", [XVECTOR, RESNET | {"channels": 16}])
def test_every_device_gives_the_same_embedding(network, device):
    encoder, waveforms = build(model=network), np.stack([noise(seed=seed) for seed in range(3)])
    expected = encoder.embed_batch(waveforms)
    found = encoder.to(device).embed_batch(waveforms)
    assert np.linalg.norm(found - expected) < 5e-3 * np.linalg.norm(expected)  # a GPU convolves in TF32


@pytest.mark.parametrize("network", [XVECTOR, RESNET | {"channels": 16}])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_embeddings_are_close(network, precision):
    encoder, waveforms = build(model=network), np.stack([noise(seed=seed) for seed in range(3)])
    exact = encoder.embed_batch(waveforms)
    close = encoder.computing_in(precision).embed_batch(waveforms)
    assert close.dtype == np.float32 and not np.array_equal(close, exact)
    cosines = (close * exact).sum(axis=1) / np.linalg.norm(close, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.min() > 0.999
    assert np.array_equal(encoder.computing_in("fp32").embed_batch(waveforms), exact)
    with pytest.raises(InputError, match="unknown precision 'fp8'; known: fp32, bf16, fp16"):
        encoder.computing_in("fp8")


def test_fp16_overflow_is_computed_again_in_fp32():
    encoder = build()
    with torch.no_grad():
        next(iter(encoder.network.parameters())).mul_(1e5)
    exact = encoder.embed_batch(noise()[None])
    assert np.array_equal(encoder.computing_in("fp16").embed_batch(noise()[None]), exact)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_on_a_gpu_is_close(precision):
    encoder, waveforms = build(model=RESNET | {"channels": 16}), np.stack([noise(seed=seed) for seed in range(3)])
    exact = encoder.embed_batch(waveforms)
    close = encoder.to("cuda").computing_in(precision).embed_batch(waveforms)
    cosines = (close * exact).sum(axis=1) / np.linalg.norm(close, axis=1) / np.linalg.norm(exact, axis=1)
    assert cosines.min() > 0.999

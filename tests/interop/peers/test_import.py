"""Import models of other toolkits: write our networks in their formats, then import them."""

from __future__ import annotations

import contextlib
import io
import pickle
import shutil
import tarfile
import tempfile
from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from spkver.cli import root
from spkver.config import validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError
from spkver.interop.peers import (
    PEERS,
    guess,
    import_model,
    networks,
    redimnet,
    speechbrain,
    voxceleb_trainer,
    wespeaker,
)
from spkver.interop.peers.files import Tagged, read_yaml
from spkver.interop.peers.layout import to_theirs

WAVEFORM = np.random.default_rng(0).normal(0, 0.1, 6400).astype(np.float32)


def randomised(network):
    torch.manual_seed(0)
    for norm in network.modules():
        if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.normal_(norm.running_mean, std=0.1)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return network.eval()


def encoder_of(model, front_end="wespeaker"):
    torch.manual_seed(1)
    encoder = Encoder(validate(EncoderConfig, {"front_end": front_end, "model": model}))
    randomised(encoder.network)
    return encoder.eval()


def as_wespeaker(folder, name, encoder, **arguments):
    """Write a network as a WeSpeaker folder."""
    network = wespeaker.NETWORKS[name]
    folder.mkdir()
    state = to_theirs(encoder.network.state_dict(), wespeaker.layout(network))
    state["projection.weight"] = torch.randn(9, encoder.dim)
    torch.save(state, folder / "avg_model.pt")
    config = {
        "model": name,
        "model_args": {"feat_dim": encoder.config.front_end.bins, "embed_dim": encoder.dim, **arguments},
        "dataset_args": {"fbank_args": {"num_mel_bins": 80, "dither": 1.0}, "resample_rate": 16000},
        "num_epochs": 150,
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


SMALL_XVECTOR = {
    "name": "xvector",
    "channels": 8,
    "pooled_channels": 12,
    "dim": 6,
    "layers_after_pooling": 2,
    "between": "relu_norm",
    "embedding_norm": False,
    "pooling": {"unbiased": True},
}


@pytest.fixture
def folder(tmp_path):
    return as_wespeaker(tmp_path / "theirs", "XVEC", encoder_of(SMALL_XVECTOR), hid_dim=8, stats_dim=12)


def change(folder, edit):
    state = torch.load(folder / "avg_model.pt", weights_only=True)
    edit(state)
    torch.save(state, folder / "avg_model.pt")


def test_import_wespeaker_folder_gives_the_same_embeddings(folder, tmp_path):
    expected = encoder_of(SMALL_XVECTOR).embed(WAVEFORM)
    assert guess(folder) == guess(folder / "avg_model.pt") == "wespeaker"
    said = import_model(folder, tmp_path / "ours")
    assert "WeSpeaker's XVEC" in said[0] and "projection.weight" in said[1]
    encoder = Encoder.open(tmp_path / "ours")
    assert np.array_equal(encoder.embed(WAVEFORM), expected)
    front_end = encoder.config.front_end
    assert (front_end.window, front_end.snip_edges, front_end.high_hz) == ("hamming", True, 8000.0)
    card = (tmp_path / "ours" / "card.md").read_text()
    assert "imported from wespeaker" in card and "Licence" in card and "sha256" in card


def test_import_command_with_front_end_option(folder, tmp_path):
    out = tmp_path / "ours"
    result = CliRunner().invoke(root, ["import", str(folder), str(out), "--front-end", "3dspeaker"])
    assert result.exit_code == 0, result.output
    assert Encoder.open(out).config.front_end.scale == 1.0


def test_import_wespeaker_experiment_folder_with_models_subfolder(folder, tmp_path):
    (folder / "models").mkdir()
    (folder / "avg_model.pt").rename(folder / "models" / "avg_model.pt")
    for number, source in enumerate((folder, folder / "models" / "avg_model.pt")):
        import_model(source, tmp_path / str(number))
    assert Encoder.open(tmp_path / "0").model_id == Encoder.open(tmp_path / "1").model_id


def test_import_asks_for_the_front_end_of_a_3d_speaker_model_in_a_wespeaker_folder(tmp_path):
    """WeSpeaker also publishes models of 3D-Speaker, which were trained on other features."""
    model, layout = THREE_D["cam++"]
    ours = encoder_of({**model, "pooling": {"unbiased": True}}, "3dspeaker")
    config = {"model": "CAMPPlus", "model_args": {"feat_dim": 80, "embed_dim": 6}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    state = to_theirs(ours.network.state_dict(), layout)
    torch.save(state, tmp_path / "avg_model.pt")
    with pytest.raises(InputError, match=r"choose one with --front-end: wespeaker, 3dspeaker$"):
        import_model(tmp_path, tmp_path / "ours")
    for trained_there in ({"projection.weight": torch.zeros(2, 6)}, {}):
        torch.save({**state, **trained_there}, tmp_path / "avg_model.pt")
        config["dataset_args"] = {} if trained_there else {"fbank_args": {"num_mel_bins": 80}}
        (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
        assert not wespeaker.WeSpeaker.read(tmp_path).front_ends


def test_import_keeps_sample_rate_of_the_source_when_front_end_is_given(folder, tmp_path):
    config = yaml.safe_load((folder / "config.yaml").read_text())
    config["dataset_args"]["resample_rate"] = 8000
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    import_model(folder, tmp_path / "ours", front_end="wespeaker")
    assert Encoder.open(tmp_path / "ours").sample_rate == 8000


# averaged checkpoints have fractional batch counters, and some are published in half precision
def test_import_accepts_float64_tensors(folder, tmp_path):
    change(folder, lambda state: state.update({name: value.double() for name, value in state.items()}))
    import_model(folder, tmp_path / "ours")
    assert np.array_equal(Encoder.open(tmp_path / "ours").embed(WAVEFORM), encoder_of(SMALL_XVECTOR).embed(WAVEFORM))


def test_import_error_lists_missing_extra_and_misshapen_tensors(folder, tmp_path):
    def spoil(state):
        del state["frame_1.conv_1d.bias"]
        state["frame_9.conv_1d.bias"] = torch.zeros(3)
        state["seg_2.weight"] = torch.zeros(6, 7)

    change(folder, spoil)
    with pytest.raises(InputError, match="the tensors do not match WeSpeaker's XVEC") as caught:
        import_model(folder, tmp_path / "ours")
    for words in (
        "missing frame_1.conv_1d.bias",
        "extra frame_9.conv_1d.bias",
        "seg_2.weight is (6, 7), not (6, 6)",
    ):
        assert words in str(caught.value)
    assert not (tmp_path / "ours").exists()


def test_import_error_counts_tensors_when_many_do_not_match(folder, tmp_path):
    change(folder, lambda state: [state.pop(name) for name in list(state) if name.startswith("frame_")])
    with pytest.raises(InputError, match="and 20 more"):
        import_model(folder, tmp_path / "ours")


def test_import_rejects_values_that_are_not_finite(folder, tmp_path):
    change(folder, lambda state: state["seg_2.bias"].fill_(float("nan")))
    with pytest.raises(InputError, match=r"seg_2\.bias contains values that are not finite"):
        import_model(folder, tmp_path / "ours")


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("model", "XVEX", "did you mean 'XVEC'"),
        ("model", "whisper_PMFA", "'whisper_PMFA' is not supported"),
        ("model_args", {"feat_dim": 80}, "embed_dim is missing"),
        ("model_args", {"embed_dim": 6, "pooling_func": "GSP"}, "the pooling 'GSP'"),
        ("model_args", {"embed_dim": 6, "two_emb_layer": True}, "two_emb_layer: True is not supported"),
        ("dataset_args", {"frontend": "s3prl"}, "dataset_args.frontend: 's3prl'"),
        ("dataset_args", {"frontend": "tfmel", "cmvn": False}, "'tfmel' is not supported; supported: fbank"),
        ("dataset_args", {"cmvn_args": {"norm_var": True}}, "norm_var"),
        ("dataset_args", {"fbank_args": {"window_type": "povey"}}, "fbank_args.window_type is not supported"),
    ],
)
def test_import_names_the_unsupported_key_of_a_wespeaker_config(folder, tmp_path, key, value, said):
    config = yaml.safe_load((folder / "config.yaml").read_text()) | {key: value}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=said):
        import_model(folder, tmp_path / "ours")


@pytest.mark.parametrize(
    ("dataset", "said"),
    [
        ({"frontend": "tfmel"}, "cmvn with tfmel, a mean over frequency, is not supported"),
        ({}, "dataset_args.frontend: 'fbank' is not supported; supported: tfmel"),
    ],
)
def test_import_names_what_a_redimnet2_of_wespeaker_cannot_have(folder, tmp_path, dataset, said):
    config = {"model": "ReDimNet2B0", "model_args": {"embed_dim": 6, "feat_dim": 72}, "dataset_args": dataset}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with pytest.raises(InputError, match=said):
        import_model(folder, tmp_path / "ours")


def test_import_runs_no_code_from_files(folder, tmp_path):
    class Touch:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    (folder / "avg_model.pt").write_bytes(pickle.dumps({"a": Touch()}))
    with pytest.raises(InputError, match="can run code"):
        import_model(folder, tmp_path / "ours")
    torch.save({"a": Touch()}, folder / "avg_model.pt")
    with pytest.raises(InputError, match="can run code"):
        import_model(folder, tmp_path / "ours", "wespeaker")
    (folder / "config.yaml").write_text(f"x: !!python/object/apply:os.mkdir [{tmp_path / 'touched'}]\nmodel: XVEC\n")
    with pytest.raises(InputError, match="model_args is missing"):
        import_model(folder, tmp_path / "ours", "wespeaker")
    assert not (tmp_path / "touched").exists()


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            saved({"a": torch.zeros(1), "eer": np.float64(1)}),
            r"contains numpy\.\S*scalar; only tensors",
        ),
        (saved({"a": torch.zeros(1), "args": Namespace(a=1)}), r"contains argparse\.Namespace; only tensors"),
        (pickle.dumps({"a": 1}), "a pickle, which is not opened because it can run code"),
        (saved({"a": torch.zeros(1000)})[:2000], "truncated: the end of the archive is missing"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n", "a Git LFS pointer"),
        (b"\n<!DOCTYPE html><html>", "a saved web page"),
        (b"", r"empty \(0 bytes\)"),
        (b"\x1b]0;title\x07 hello", "not a checkpoint"),
    ],
    ids=["numpy", "class", "pickle", "cut", "lfs", "page", "empty", "text"],
)
def test_import_says_what_a_file_is_that_is_no_checkpoint(folder, tmp_path, content, said):
    """In a WeSpeaker folder, and as a file of an unknown toolkit."""
    (folder / "avg_model.pt").write_bytes(content)
    (tmp_path / "model.bin").write_bytes(content)
    for source in (folder, tmp_path / "model.bin"):
        with pytest.raises(InputError, match=said) as caught:
            import_model(source, tmp_path / "ours")
        assert str(caught.value).isprintable()


def test_import_rejects_files_of_no_known_toolkit(tmp_path):
    (tmp_path / "text.pt").write_text("hello")
    (tmp_path / "empty").mkdir()
    torch.save({"a": torch.zeros(2)}, tmp_path / "odd.pt")
    for source in ("empty", "odd.pt"):
        with pytest.raises(InputError, match="the toolkit was not recognised"):
            import_model(tmp_path / source, tmp_path / "ours")
    with pytest.raises(InputError, match=r"text\.pt: not a checkpoint of torch\.save"):
        import_model(tmp_path / "text.pt", tmp_path / "ours")
    for toolkit in ("3dspeaker", "redimnet", "voxceleb_trainer", "speechbrain", "wespeaker"):
        with pytest.raises(InputError):
            import_model(tmp_path / "odd.pt", tmp_path / "ours", toolkit)
    with pytest.raises(InputError, match="no such file"):
        import_model(tmp_path / "nowhere", tmp_path / "ours")
    with pytest.raises(InputError, match="did you mean 'wespeaker'"):
        import_model(tmp_path / "odd.pt", tmp_path / "ours", "wespeakr")


def test_import_does_not_overwrite_an_existing_folder(folder, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("all of it")
    with pytest.raises(InputError, match="mine: exists already"):
        import_model(folder, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "all of it"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_import_of_any_config_value_raises_only_input_errors(folder, tmp_path, data):
    """Any value in a config is accepted or raises InputError."""
    odd = st.sampled_from([None, "x", -1, 2.5, [], [1], {}, {"a": 1}, True, float("nan")])
    config = yaml.safe_load((folder / "config.yaml").read_text())
    places = [
        ("model",),
        ("model_args",),
        ("dataset_args",),
        *(("model_args", key) for key in ("feat_dim", "embed_dim", "pooling_func", "hid_dim", "two_emb_layer")),
        *(("dataset_args", key) for key in ("fbank_args", "resample_rate", "cmvn_args", "frontend")),
        *(("dataset_args", "fbank_args", key) for key in ("num_mel_bins", "frame_shift", "dither")),
    ]
    *parents, last = data.draw(st.sampled_from(places))
    node = config
    for parent in parents:
        node = node[parent]
    node[last] = data.draw(odd)
    with tempfile.TemporaryDirectory() as place:
        copy = Path(place) / "theirs"
        shutil.copytree(folder, copy)
        (copy / "config.yaml").write_text(yaml.safe_dump(config))
        with contextlib.suppress(InputError):
            import_model(copy, Path(place) / "ours", "wespeaker")


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_import_of_any_tensor_shape_raises_only_input_errors(data):
    names = st.sampled_from(
        [
            *("conv1.weight", "layer1.0.convs.0.weight", "layer1.0.conv3.weight", "seg_1.weight", "layer3_ds.weight"),
            *("layer1.0.conv1.weight", "layer1.0.conv2.weight", "xvector.tdnn.linear.weight", "head.conv1.weight"),
            *("blocks.0.conv.conv.weight", "__S__.conv1.weight", "__S__.fc.weight", "embedding_model", "model_config"),
        ]
    )
    shape = st.lists(st.integers(0, 3), max_size=4)
    tensors = {name: torch.zeros(data.draw(shape)) for name in data.draw(st.lists(names, unique=True))}
    with tempfile.TemporaryDirectory() as place:
        torch.save(tensors, Path(place) / "odd.pt")
        for toolkit in PEERS:
            with pytest.raises(InputError):
                import_model(Path(place) / "odd.pt", Path(place) / "ours", toolkit)


def test_read_yaml_resolves_references_and_keeps_tags_as_data(tmp_path):
    (tmp_path / "a.yaml").write_text(
        "mels: 24\n"
        "net: !new:package.Class\n  sizes: [1, !ref <mels>]\n  same: !ref <other.value>\n  sum: !ref <mels> + 1\n"
        "other:\n  value: !ref <mels>\n"
        "name: !name:torch.nn.ReLU\nloop: !ref <loop>\n"
    )
    found = read_yaml(tmp_path / "a.yaml")
    assert found["net"].tag == "!new:package.Class"
    assert found["net"].value["sizes"] == [1, 24] and found["net"].value["same"] == 24
    assert found["net"].value["sum"] == Tagged("!ref", "<mels> + 1")
    assert found["name"].tag == "!name:torch.nn.ReLU"


# --- the other toolkits -----------------------------------------------------------------------------------------------

THREE_D = {
    "cam++": (
        {"name": "campplus", "front_channels": 4, "channels": 8, "growth": 2, "bottleneck": 16, "dim": 6},
        networks.CAMPPLUS,
    ),
    "eres2net": ({"name": "eres2net", "channels": 8, "dim": 6}, networks.ERES2NET),
    "eres2netv2": (
        {"name": "eres2net", "channels": 16, "base_width": 28, "scale": 3, "expansion": 1, "fused": "last", "dim": 6},
        networks.ERES2NETV2,
    ),
    "res2net": ({"name": "res2net", "channels": 8, "scale": 3, "dim": 6}, networks.RESNET),
    "resnet": ({"name": "resnet", "channels": 4, "dim": 6, "layers_after_pooling": 2}, networks.RESNET),
    "resnet50": ({"name": "resnet", "depth": 50, "channels": 4, "dim": 6}, networks.RESNET),
}


@pytest.mark.parametrize("name", THREE_D)
def test_import_3d_speaker_checkpoint(name, tmp_path):
    """Sizes come from the shapes. If WeSpeaker has the same tensors, the front end must be chosen."""
    model, layout = THREE_D[name]
    floor = 1e-14 if name == "cam++" else 1e-8
    ours = encoder_of({**model, "pooling": {"unbiased": True, "floor": floor}}, "3dspeaker")
    torch.save(to_theirs(ours.network.state_dict(), layout), tmp_path / "model.bin")
    assert guess(tmp_path / "model.bin") == "3dspeaker"
    if name.startswith("eres2net"):
        import_model(tmp_path / "model.bin", tmp_path / "ours")
    else:
        with pytest.raises(InputError, match=r"choose one with --front-end: 3dspeaker, wespeaker$"):
            import_model(tmp_path / "model.bin", tmp_path / "ours")
        import_model(tmp_path / "model.bin", tmp_path / "theirs", front_end="wespeaker")
        assert Encoder.open(tmp_path / "theirs").config.front_end == encoder_of(model).config.front_end
        import_model(tmp_path / "model.bin", tmp_path / "ours", "3dspeaker")
    found = Encoder.open(tmp_path / "ours")
    assert found.config == ours.config
    assert np.array_equal(found.embed(WAVEFORM), ours.embed(WAVEFORM))


ECAPA = {"name": "ecapa_tdnn_speechbrain", "channels": 16, "aggregated": 12, "se_hidden": 4, "dim": 6}


@pytest.mark.parametrize("front_end", ["3dspeaker", "rdino", "speechbrain"])
def test_import_asks_for_the_front_end_when_several_are_possible(front_end, tmp_path):
    ours = encoder_of(ECAPA, front_end)
    folder = tmp_path / "CKPT-EPOCH-70-00"
    folder.mkdir()
    torch.save(to_theirs(ours.network.state_dict(), networks.ECAPA_SPEECHBRAIN), folder / "embedding_model.ckpt")
    with pytest.raises(InputError, match=r"choose one with --front-end: 3dspeaker, rdino, speechbrain$"):
        import_model(folder, tmp_path / "ours")
    with pytest.raises(InputError, match=r"choose one with --front-end: 3dspeaker, rdino$"):
        import_model(folder, tmp_path / "ours", "3dspeaker")
    import_model(folder, tmp_path / "ours", front_end=front_end)
    assert np.array_equal(Encoder.open(tmp_path / "ours").embed(WAVEFORM), ours.embed(WAVEFORM))


def test_import_takes_the_teacher_of_rdino_and_sdpn_checkpoints(tmp_path):
    """They contain a student and a teacher, each with a head. The teacher's network is the model."""
    ours = encoder_of(ECAPA, "rdino")
    state = to_theirs(ours.network.state_dict(), networks.ECAPA_SPEECHBRAIN)
    teacher = {f"module.backbone.{name}": value for name, value in state.items()}
    student = {name: value + 1 for name, value in teacher.items()}
    heads = {"module.head.mlp.0.weight": torch.zeros(4, 6)}
    torch.save({"student": student | heads, "teacher": teacher | heads, "epoch": 3}, tmp_path / "checkpoint.pth")
    import_model(tmp_path / "checkpoint.pth", tmp_path / "ours")
    found = Encoder.open(tmp_path / "ours")
    assert found.config == ours.config
    assert np.array_equal(found.embed(WAVEFORM), ours.embed(WAVEFORM))


STAGES = [(1, 1, 1, [(3, 3)], None), (2, 2, 2, [(3, 3)], 20), (1, 1, 1, [(3, 3)], 10)]


@pytest.mark.parametrize("block", redimnet.BLOCKS)
def test_import_redimnet_release(block, tmp_path):
    model = {
        "name": "redimnet",
        "channels": 4,
        "blocks": redimnet.BLOCKS[block],
        "group": 2,
        "stages": [(1, 1, 1, 0), (2, 2, 2, 20), (1, 1, 1, 10)],
        "dim": 6,
        "pooling": {"unbiased": True},
    }
    ours = encoder_of(model, {"name": "mel_spectrogram", "bins": 40, "unit_variance": True})
    state = to_theirs(ours.network.state_dict(), redimnet.layout(model["stages"]))
    state["spec.torchfbank.1.flipped_filter"] = torch.zeros(1, 1, 2)
    config = {
        "F": 40,
        "C": 4,
        "block_1d_type": "conv+att",
        "block_2d_type": block,
        "stages_setup": STAGES,
        "group_divisor": 2,
        "embed_dim": 6,
        "global_context_att": True,
        "spec_params": {"norm_signal": True},
    }
    torch.save({"model_config": config, "state_dict": state}, tmp_path / "b.pt")
    assert guess(tmp_path / "b.pt") == "redimnet"
    import_model(tmp_path / "b.pt", tmp_path / "ours")
    assert np.array_equal(Encoder.open(tmp_path / "ours").embed(WAVEFORM), ours.embed(WAVEFORM))
    torch.save({"model_config": config | {"feat_type": "tf"}, "state_dict": state}, tmp_path / "b.pt")
    with pytest.raises(InputError, match="feat_type: tf is not supported; supported: pt, pt_mel"):
        import_model(tmp_path / "b.pt", tmp_path / "other")


@pytest.mark.parametrize("front_end", ["voxceleb_trainer", "voxceleb_trainer_linear"])
def test_import_voxceleb_trainer_checkpoint(front_end, tmp_path):
    """Trained with --log_input or without; the file does not say which."""
    model = {
        "name": "resnet",
        "channels": 8,
        "attention": "se",
        "reduction": 2,
        "order": "relu_norm",
        "dim": 6,
        "pooling": {"name": "attentive_statistics", "activation": "relu_norm", "floor": 1e-5},
    }
    ours = encoder_of(model, {"name": front_end, "bins": 64})
    state = to_theirs(ours.network.state_dict(), voxceleb_trainer.LAYOUT)
    spectrogram = {"spectrogram.window": ours.front_end.window, "mel_scale.fb": ours.front_end.mel}
    state |= {"__L__.W": torch.zeros(3), **{f"__S__.torchfb.1.{key}": value for key, value in spectrogram.items()}}
    torch.save({"model_state_dict": state, "epoch": 3}, tmp_path / "best.model")
    assert guess(tmp_path / "best.model") == "voxceleb_trainer"
    with pytest.raises(InputError, match="choose one with --front-end: voxceleb_trainer, voxceleb_trainer_linear"):
        import_model(tmp_path / "best.model", tmp_path / "ours")
    with pytest.raises(InputError, match=r"window differs from that of the front end mel_spectrogram"):
        import_model(tmp_path / "best.model", tmp_path / "ours", front_end="rdino")
    import_model(tmp_path / "best.model", tmp_path / "ours", front_end=front_end)
    assert np.array_equal(Encoder.open(tmp_path / "ours").embed(WAVEFORM), ours.embed(WAVEFORM))
    state["__S__.torchfb.1.mel_scale.fb"] = state["__S__.torchfb.1.mel_scale.fb"].roll(1, 0)
    torch.save(state, tmp_path / "best.model")
    with pytest.raises(InputError, match=r"mel_scale\.fb differs from that of the front end mel_spectrogram"):
        import_model(tmp_path / "best.model", tmp_path / "other", front_end=front_end)
    torch.save({"__S__.conv1.weight": torch.zeros(16, 1, 7, 7)}, tmp_path / "best.model")
    with pytest.raises(InputError, match="only ResNetSE34V2"):
        import_model(tmp_path / "best.model", tmp_path / "other")


def nemo(path, members):
    with tarfile.open(path, "w") as archive:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def test_nemo_archive_is_read_as_data_and_not_unpacked(tmp_path):
    class Touch:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    (tmp_path / "a").mkdir()
    for members, said in (
        ({"../../out.ckpt": b"x", "model_config.yaml": b"a: 1\n"}, "contains no model_weights.ckpt"),
        ({"model_config.yaml": b"a: 1\n", "model_weights.ckpt": saved({"a": Touch()})}, "can run code"),
        ({"model_config.yaml": b"[1", "model_weights.ckpt": saved({"a": torch.zeros(1)})}, "not valid YAML"),
        ({"model_config.yaml": b"a: 1\n", "model_weights.ckpt": saved({"a": torch.zeros(1)})}, "only TitaNet"),
    ):
        with pytest.raises(InputError, match=said):
            import_model(nemo(tmp_path / "a" / "x.nemo", members), tmp_path / "ours")
    (tmp_path / "a" / "x.nemo").write_bytes(b"no archive")
    with pytest.raises(InputError, match=r"not a \.nemo archive"):
        import_model(tmp_path / "a" / "x.nemo", tmp_path / "ours")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "x.nemo"]


def test_speechbrain_settings_without_a_network_are_rejected(tmp_path):
    (tmp_path / "hyperparams.yaml").write_text("a: 1\n")
    with pytest.raises(InputError, match="embedding_model is missing"):
        speechbrain.SpeechBrain.read(tmp_path)

"""Published models by name, from a local server that speaks the protocols of the hubs."""

from __future__ import annotations

import hashlib
import io
import json
import socket
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from spkver import audio, load_model
from spkver.cli import root
from spkver.config import validate
from spkver.encoder import Encoder, EncoderConfig
from spkver.errors import InputError, RunError
from spkver.interop import hub as published
from spkver.interop.hub import catalogue, files, modelscope
from spkver.interop.peers import networks, wespeaker
from spkver.interop.peers.layout import to_theirs
from spkver.modeldir import CARD

COMMIT = "0123456789abcdef0123456789abcdef01234567"
WAVEFORM = np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32)
XVECTOR = {
    "name": "xvector",
    "channels": 4,
    "pooled_channels": 6,
    "dim": 5,
    "layers_after_pooling": 2,
    "between": "relu_norm",
    "embedding_norm": False,
    "pooling": {"unbiased": True},
}
CAMPPLUS = {
    "name": "campplus",
    "front_channels": 4,
    "channels": 8,
    "growth": 2,
    "bottleneck": 16,
    "dim": 6,
    "pooling": {"unbiased": True, "floor": 1e-14},
}


def made(model, front_end):
    torch.manual_seed(0)
    return Encoder(validate(EncoderConfig, {"front_end": front_end, "model": model})).eval()


def saved(content):
    stream = io.BytesIO()
    torch.save(content, stream)
    return stream.getvalue()


@pytest.fixture(scope="module")
def xvector():
    """A network, and its files as WeSpeaker publishes them."""
    encoder = made(XVECTOR, "wespeaker")
    config = {
        "model": "XVEC",
        "model_args": {"feat_dim": 80, "embed_dim": 5, "hid_dim": 4, "stats_dim": 6},
        "dataset_args": {"fbank_args": {"num_mel_bins": 80}},
    }
    state = to_theirs(encoder.network.state_dict(), wespeaker.layout(wespeaker.NETWORKS["XVEC"]))
    content = {
        "avg_model.pt": saved(state),
        "config.yaml": yaml.safe_dump(config).encode(),
        "README.md": b"---\nlicense: cc-by-4.0\n---\n# A model\n",
        "voxceleb.onnx": b"not needed",
        "classifier.ckpt": b"not needed",
    }
    return encoder.embed(WAVEFORM), content


@pytest.fixture(scope="module")
def campplus():
    """A network, and its files as 3D-Speaker publishes them: they do not say with which front end it was trained."""
    encoder = made(CAMPPLUS, "3dspeaker")
    state = to_theirs(encoder.network.state_dict(), networks.CAMPPLUS)
    readme = b"---\nlicense: Apache License 2.0\n---\n"
    return encoder.embed(WAVEFORM), {"campplus_cn_common.bin": saved(state), "README.md": readme}


NAME = "Wespeaker/wespeaker-voxceleb-resnet34-LM"


def run(*arguments):
    return CliRunner().invoke(root, [str(one) for one in arguments])


def test_import_from_the_hugging_face_hub(hub, xvector, tmp_path):
    expected, hub.repositories[NAME] = xvector
    done = run("import", NAME, "out")
    assert done.exit_code == 0, done.output
    assert np.array_equal(Encoder.open("out").embed(WAVEFORM), expected)
    card = (tmp_path / "out" / CARD).read_text()
    assert f"Published: {NAME}, revision {COMMIT} ({hub.url}/{NAME})" in card
    assert "Licence: cc-by-4.0" in card and "Files: 3, equal to the checksums of the hub" in card
    assert not any("onnx" in one or "classifier" in one for one in hub.asked)
    hub.asked.clear()
    assert run("import", NAME, "again", "--offline").exit_code == 0
    assert run("import", f"{NAME}@{COMMIT}", "exact").exit_code == 0
    assert not any("cdn" in one for one in hub.asked)  # nothing is downloaded twice
    assert Encoder.open("again").model_id == Encoder.open("out").model_id


def test_name_as_a_model_is_converted_once_and_then_needs_no_network(hub, xvector, tmp_path):
    expected, hub.repositories[NAME] = xvector
    assert np.array_equal(load_model(NAME).embed(WAVEFORM), expected)
    hub.repositories.clear()
    hub.asked.clear()
    audio.write("a.wav", WAVEFORM, 16000)
    done = run("verify", "a.wav", "a.wav", "--model", NAME)
    assert done.exit_code == 0 and "cosine 1.0000" in done.output
    assert run("import", NAME).output.startswith(str(tmp_path / "cache" / "spkver" / "models"))
    assert not hub.asked


def test_verify_by_name_says_what_was_downloaded(hub, xvector):
    _, hub.repositories[NAME] = xvector
    audio.write("a.wav", WAVEFORM, 16000)
    done = run("verify", "a.wav", "a.wav", "--model", NAME)
    assert done.exit_code == 0 and "Licence: cc-by-4.0" in done.stderr and "cosine" in done.stdout


def test_model_of_a_new_name_is_found_under_the_old_one(hub, xvector):
    expected, hub.repositories["new/name"] = xvector
    hub.moved["old/name"] = "new/name"
    assert run("import", "old/name", "out").exit_code == 0
    assert np.array_equal(Encoder.open("out").embed(WAVEFORM), expected)


def refused(*arguments):
    """The error of a command."""
    done = run("import", *arguments)
    assert isinstance(done.exception, InputError | RunError), done.output
    assert "\n" not in str(done.exception)
    return str(done.exception)


def test_refusals_of_the_hugging_face_hub_say_what_to_do(hub, xvector):
    _, hub.repositories[NAME] = xvector
    assert "no such file or directory, and no public model of this name" in refused("some/body", "out")
    assert f"{NAME}: no revision 'v7'; see {hub.url}/{NAME}/commits/main" in refused(f"{NAME}@v7", "out")
    assert f"{NAME}: not downloaded yet; run it once" in refused(NAME, "out", "--offline")
    hub.gated.add(NAME)
    said = refused(NAME, "out")
    assert f"accept them at {hub.url}/{NAME}" in said and "hf auth login" in said
    hub.gated.clear()
    hub.repositories["some/config"] = {"config.yaml": xvector[1]["config.yaml"]}
    assert "choose one with --from: " in refused("some/config", "out")
    assert not Path("out").exists()


def test_unreachable_hub_is_named(hub, monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert "no such file or directory, and http://127.0.0.1" in refused(NAME, "out")


@pytest.mark.parametrize("damaged", ["avg_model.pt", "config.yaml"])
def test_damaged_file_of_the_hugging_face_hub_is_removed(hub, xvector, damaged):
    _, hub.repositories[NAME] = xvector
    hub.damaged.add(damaged)
    assert f"{damaged} is damaged" in refused(NAME, "out")
    hub.damaged.clear()
    assert run("import", NAME, "out").exit_code == 0


def test_broken_download_of_the_hugging_face_hub_is_resumed(hub, xvector):
    expected, hub.repositories[NAME] = xvector
    hub.short.add("avg_model.pt")
    done = run("import", NAME, "out")
    if done.exit_code:  # some versions of the package do not try again by themselves
        assert "run it again to resume" in str(done.exception)
        hub.short.clear()
        assert run("import", NAME, "out").exit_code == 0
    assert np.array_equal(Encoder.open("out").embed(WAVEFORM), expected)


def test_import_from_modelscope_takes_the_front_end_of_its_owner(hub, campplus, tmp_path):
    name = "iic/speech_campplus_sv_zh-cn_16k-common"
    expected, hub.repositories[name] = campplus
    assert run("import", name, "out").exit_code == 0
    assert np.array_equal(Encoder.open("out").embed(WAVEFORM), expected)
    card = (tmp_path / "out" / CARD).read_text()
    assert f"Published: {name}, revision v1.0.0" in card and "Licence: Apache License 2.0" in card
    assert "Files: 2, equal to the checksums of ModelScope" in card
    hub.repositories.clear()
    assert run("import", name, "again", "--offline").exit_code == 0
    assert f"check the name and revision at {hub.url}/models/{name}" in refused(name, "third")


def test_modelscope_files_that_changed_are_downloaded_again_and_damaged_ones_refused(hub, campplus):
    name = "iic/some_model"
    _, content = campplus
    hub.repositories[name] = {**content, "campplus_cn_common.bin": content["campplus_cn_common.bin"] + b"\0"}
    published.fetch(name)
    hub.repositories[name] = content
    found = published.fetch(name)
    assert (found.path / "campplus_cn_common.bin").read_bytes() == content["campplus_cn_common.bin"]
    (found.path / "README.md").unlink()
    hub.damaged.add("README.md")
    with pytest.raises(RunError, match=r"README\.md is damaged"):
        published.fetch(name)
    with pytest.raises(InputError, match="not downloaded yet"):
        published.fetch("iic/other", offline=True)


def test_import_from_a_url(hub, campplus, tmp_path):
    expected, content = campplus
    weights = content["campplus_cn_common.bin"]
    hub.files["/releases/download/v1/campplus.pt"] = weights
    url = f"{hub.url}/releases/download/v1/campplus.pt"
    assert run("import", url, "out", "--from", "3dspeaker").exit_code == 0
    assert np.array_equal(Encoder.open("out").embed(WAVEFORM), expected)
    digest = hashlib.sha256(weights).hexdigest()
    card = (tmp_path / "out" / CARD).read_text()
    assert f"no published checksum; sha256 of campplus.pt at first use: {digest}" in card
    assert "Licence: not stated there" in card
    hub.files.clear()
    assert run("import", url, "again", "--offline", "--from", "3dspeaker").exit_code == 0
    assert run("import", f"{url}#sha256={digest}", "checked", "--from", "3dspeaker").exit_code == 0
    assert "expected 0000" in refused(f"{url}#sha256={'0' * 64}", "wrong")
    assert "HTTP 404" in refused(url, "gone")
    assert "sha256= and 64 hexadecimal digits" in refused(f"{url}#md5=1", "gone")


def packed(content, suffix):
    stream = io.BytesIO()
    if suffix == ".zip":
        with zipfile.ZipFile(stream, "w") as archive:
            for name, data in content.items():
                archive.writestr(name, data)
    else:
        with tarfile.open(fileobj=stream, mode="w:gz") as archive:
            for name, data in content.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    return stream.getvalue()


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_import_of_an_archive_of_wespeaker(hub, xvector, suffix):
    expected, content = xvector
    inside = {f"voxceleb_x/{name}": data for name, data in content.items()}
    hub.files[f"/oss/voxceleb_x{suffix}"] = packed(inside, suffix)
    listing = [{"Key": f"voxceleb_x{suffix}", "Url": f"{hub.url}/oss/voxceleb_x{suffix}?Expires=1"}]
    hub.files["/api/v1/datasets/wenet/wespeaker_pretrained_models/oss/tree"] = json.dumps(
        {"Code": 200, "Data": listing}
    ).encode()
    assert run("import", "wenet/voxceleb_x", "out").exit_code == 0
    assert np.array_equal(Encoder.open("out").embed(WAVEFORM), expected)
    assert "did you mean 'voxceleb_x'" in refused("wenet/voxceleb_y", "other")
    hub.files.clear()
    assert run("import", "wenet/voxceleb_x", "again", "--offline").exit_code == 0


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_archive_cannot_write_outside_its_folder(hub, suffix, tmp_path):
    hub.files[f"/bad{suffix}"] = packed({"../../../../out.pt": b"x"}, suffix)
    assert "points outside" in refused(f"{hub.url}/bad{suffix}", "out")
    assert not list(tmp_path.rglob("out.pt"))


def test_existing_paths_and_paths_below_existing_folders_are_no_names(hub, tmp_path):
    (tmp_path / "exp").mkdir()
    for path in ("exp/model", "exp", "a.pt", "../x/y", "/a/b", "", "a/b/c", "C:\\models\\a"):
        assert not published.is_name(path)
        assert published.local(path) == Path(path)
    for name in ("a/b", "iic/a", "wenet/a", "https://example.org/a.pt", "a/b@v1.0", "https://huggingface.co/a/b"):
        assert published.is_name(name)
    assert "give the model directory OUT" in refused("exp")
    assert not hub.asked


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("speechbrain/spkrec-ecapa-voxceleb", "huggingface"),
        ("https://huggingface.co/a/b", "huggingface"),
        ("iic/a", "modelscope"),
        ("https://www.modelscope.cn/models/a/b", "modelscope"),
        ("wenet/voxceleb_resnet34", "wespeaker"),
        ("https://github.com/a/b/releases/download/v1/c.pt", "url"),
    ],
)
def test_source_of_a_name(name, source):
    assert next(one for one in published.SOURCES if published.SOURCES.get(one).recognises(name)) == source


def test_pages_of_models_are_names(hub, xvector, campplus):
    _, hub.repositories["a/b"] = campplus
    hub.repositories["c/d"] = xvector[1]
    found = published.fetch("https://modelscope.cn/models/a/b/summary")
    assert (found.name, found.revision) == ("a/b", "master")
    assert published.fetch("https://huggingface.co/c/d").name == "c/d"


def test_licence_of_a_readme_without_front_matter_is_unknown(tmp_path):
    for text, expected in (
        ("", ""),
        ("# A\n", ""),
        ("---\n: [\n---\n", ""),
        ("---\n- a\n---\n", ""),
        ("---\nlicense: mit\n---\n", "mit"),
        ("---\nlicense: other\nlicense_name: nv-open\n---\n", "nv-open"),
        ("---\nlicense: other\n---\n", ""),
    ):
        (tmp_path / "README.md").write_text(text)
        assert files.licence(tmp_path) == expected, text


def test_catalogue_is_complete_and_sorted_by_its_sources():
    names = [one.name for one in catalogue.KNOWN]
    assert len(set(names)) == len(names) and all(published.is_name(name) for name in names)
    for one in catalogue.KNOWN:
        assert one.licence and one.stated and one.millions > 0 and (one.eer is None) == (not one.trials)
    assert all(modelscope.ModelScope.recognises(name) for name in catalogue.PINNED)
    done = run("models", "--pretrained")
    assert done.exit_code == 0 and len(done.output.splitlines()) == len(names) + 2
    assert "speechbrain/spkrec-ecapa-voxceleb" in done.output and "CC-BY-4.0" in done.output

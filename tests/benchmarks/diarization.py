"""Diarization by spkver and by sherpa-onnx of the same recordings, with the same two networks, on one core.

    spkver import pytorch_model.bin segmentation --from pyannote-segmentation
    python tests/benchmarks/diarization.py data/tune MODEL segmentation --uem 600s-ov00 --thresholds 0.6 0.7 0.8
    python tests/benchmarks/diarization.py data/test MODEL segmentation --uem 600s-ov00 600s-ov10 --thresholds 0.7

data/tune and data/test are of recipes/diarization. MODEL has no voice activity detection, and settings that
`spkver tune-diarization` stored. They are used without and with the segmentation network. sherpa-onnx finds speech with
that network. It computes features as for the models that it distributes (20 to 7600 Hz, no snipped edges). Its one
setting is the threshold of the clustering, so choose that on data/tune. It needs `pip install sherpa-onnx`.
"""

import argparse
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path

import onnx
import sherpa_onnx
import torch

from spkver import audio, tables
from spkver.datadir import read_datadir
from spkver.diarization.segmentation import FIELD, RATE, STEP, SegmentationNetwork, read_segmentation
from spkver.encoder import Encoder, EncoderConfig
from spkver.export.onnx import OnnxConfig, OnnxExport
from spkver.export.sherpa import BELOW_NYQUIST_HZ
from spkver.progress import bar
from spkver.rttm import Region, Turn, read_turns, read_uem
from spkver.scoring.diarization import evaluate_turns
from spkver.verify import conversations
from spkver.verify.model import Verifier

HEAD = ["system", "uem", "DER %", "miss", "false alarm", "confusion", "95 % interval", "number right", "x real time"]


def by_spkver(encoder: Verifier, paths: list[str], segmentation: str) -> tuple[list[Turn], float]:
    """Turns, and the seconds that they took."""
    settings = conversations.settings_of(encoder, None, None, segmentation=segmentation)
    start = time.perf_counter()
    found = conversations.diarize(encoder, paths, settings)
    return found.turns, time.perf_counter() - start


def by_sherpa(segmentation: Path, embedding: Path, paths: list[str], threshold: float) -> tuple[list[Turn], float]:
    """Turns, and the seconds that they took."""
    pyannote = sherpa_onnx.OfflineSpeakerSegmentationPyannoteModelConfig(model=str(segmentation))
    system = sherpa_onnx.OfflineSpeakerDiarization(
        sherpa_onnx.OfflineSpeakerDiarizationConfig(
            segmentation=sherpa_onnx.OfflineSpeakerSegmentationModelConfig(pyannote=pyannote, num_threads=1),
            embedding=sherpa_onnx.SpeakerEmbeddingExtractorConfig(model=str(embedding), num_threads=1),
            clustering=sherpa_onnx.FastClusteringConfig(threshold=threshold),
        )
    )
    start, turns = time.perf_counter(), []
    with bar(total=len(paths), what=f"sherpa-onnx, {threshold:g}", unit="recording") as progress:
        for path in paths:
            found = system.process(audio.read(path, RATE)[0]).sort_by_start_time()
            turns += [Turn(Path(path).stem, one.start, one.end, str(one.speaker)) for one in found]
            progress.update()
    return turns, time.perf_counter() - start


def with_their_front_end(encoder: Encoder) -> Encoder:
    """The same network behind the front end that sherpa-onnx has for all networks."""
    front_end = encoder.config.front_end.model_copy(
        update={"snip_edges": False, "high_hz": RATE / 2 - BELOW_NYQUIST_HZ}
    )
    made = Encoder(EncoderConfig(front_end=front_end, model=encoder.config.model)).eval()
    made.network.load_state_dict(encoder.network.state_dict())
    return made


def write_onnx(network: SegmentationNetwork, path: Path) -> None:
    """Write the segmentation network in the form that sherpa-onnx reads."""
    waveform = torch.zeros(1, 1, network.samples)
    whole = torch.nn.Sequential(torch.nn.Flatten(), network.requires_grad_(False)).eval()
    axes = {"x": {0: "N"}, "y": {0: "N"}}
    torch.onnx.export(
        whole, (waveform,), str(path), input_names=["x"], output_names=["y"], dynamic_axes=axes, dynamo=False
    )
    model, config = onnx.load(str(path)), network.config
    about = {
        "model_type": "pyannote-segmentation-3.0",
        "sample_rate": RATE,
        "window_size": network.samples,
        "receptive_field_size": FIELD,
        "receptive_field_shift": STEP,
        "num_speakers": config.speakers,
        "powerset_max_classes": config.at_once,
        "num_classes": len(network.members),
        "num_samples": network.samples,
        "version": 1,
    }
    onnx.helper.set_model_props(model, {key: str(value) for key, value in about.items()})
    onnx.save(model, str(path))


def row(
    name: str, part: str, reference: list[Turn], turns: Iterable[Turn], regions: list[Region], speed: float
) -> list:
    """A row of the table."""
    found = evaluate_turns(reference, turns, regions)
    whole, (low, high) = found.all, found.intervals["DER"]
    rates = [f"{100 * one / whole.speech:.2f}" for one in (whole.miss, whole.false_alarm, whole.confusion)]
    interval = f"{100 * low:.2f} to {100 * high:.2f}"
    right = f"{found.right} of {len(found.errors)}"
    return [name, part, f"{100 * whole.der:.2f}", *rates, interval, right, f"{speed:.0f}"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("conversations", type=Path)
    parser.add_argument("model")
    parser.add_argument("segmentation")
    parser.add_argument("--uem", nargs="+", default=["all"], help="names of UEM files in CONVERSATIONS, without .uem")
    parser.add_argument("--thresholds", nargs="*", type=float, default=[0.5], help="of sherpa-onnx")
    parser.add_argument("--only-sherpa", action="store_true", help="do not run spkver")
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    regions = {name: read_uem(arguments.conversations / f"{name}.uem") for name in arguments.uem}
    wanted = {one.recording for part in regions.values() for one in part}
    table = read_datadir(arguments.conversations).table
    paths = [path for name, path in zip(table["id"].to_pylist(), table["path"].to_pylist()) if name in wanted]
    seconds = sum(one.end - one.start for part in regions.values() for one in part)
    reference = read_turns(arguments.conversations / "ref.rttm")

    encoder = Verifier.open(arguments.model)
    systems = {}
    if not arguments.only_sherpa:
        systems["spkver"] = by_spkver(encoder, paths, "")
        systems["spkver, segmentation"] = by_spkver(encoder, paths, arguments.segmentation)
    with tempfile.TemporaryDirectory() as folder:
        write_onnx(read_segmentation(arguments.segmentation), Path(folder) / "segmentation.onnx")
        OnnxExport(OnnxConfig()).write(with_their_front_end(encoder), Path(folder) / "embedding.onnx")
        for threshold in arguments.thresholds:
            systems[f"sherpa-onnx, {threshold:g}"] = by_sherpa(
                Path(folder) / "segmentation.onnx", Path(folder) / "embedding.onnx", paths, threshold
            )
    rows = [
        row(name, part, reference, turns, own, seconds / took)
        for part, own in regions.items()
        for name, (turns, took) in systems.items()
    ]
    print(tables.text([HEAD, *rows]))

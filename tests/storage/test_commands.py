"""Commands with inputs and outputs on an S3 server write what they write to a folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from click.testing import CliRunner

from spkver import cli
from spkver.datadir import from_columns, write_datadir
from spkver.embeddings import Embeddings, write_embeddings
from spkver.files import write_text
from spkver.storage import Url, access

from .conftest import Server, clear

# @ stands for the place
SCORING = """
score @trials.txt @emb.parquet @scores.txt --mean @train.parquet
score @trials.txt @emb.parquet @scores.parquet --test @emb.parquet --enrolment @spk2utt
score-all @emb.parquet @all.txt
score-all @emb.parquet @all.npz --test @train.parquet
score-all @emb.parquet @all.parquet --enrolment @spk2utt
score-all @emb.parquet @top.csv --top 3
score-all @emb.parquet @top.parquet --top 3 --test @train.parquet
normalise @scores.txt @emb.parquet @train.parquet @norm.txt --top 5
normalise @scores.txt @emb.parquet @train.parquet @norm.parquet --by-speaker --method z
transform fit @train.parquet @chain --steps centre,lda:3,length
transform apply @chain @emb.parquet @lda.parquet
plda fit @train.parquet @plda --chain @chain
plda adapt @plda @adapted --coral @emb.parquet --chain @chain
score-all @emb.parquet @plda.csv --chain @chain --plda @adapted
calibrate @scores.txt @llr.txt --train @norm.txt --save @calibration.json
calibrate @scores.txt @again.parquet --load @calibration.json
calibrate @scores.txt @q.txt --train @norm.txt --quality @table.csv:seconds --train-quality @table.csv:seconds
fuse @fused.txt @scores.txt @norm.txt --train @scores.txt --train @norm.txt
evaluate @scores.txt --trials @trials.txt --weights @weights --curve @curve.csv --out @numbers.json
breakdown @scores.txt @table.csv --by seconds --edges 2 --out @groups.json
threshold @scores.txt --eer --speakers @table.csv --out @threshold.json --replicates 20
convert @emb.parquet @emb.npz
report A=@scores.txt B=@norm.txt --data @table.csv --embeddings @emb.parquet --out @page.html --replicates 20
"""

RECORDINGS = """
data subset @wavs @fewer --speakers 1
data split @wavs @left @right --speakers 1 --seed 3
data join @both @left one=@right
data cut @wavs @pieces --seconds 0.2
data relabel @wavs @wrong --share 0.5
data trials @wavs @drawn.txt --nontargets 5
data stats @wavs --out @stats.html
pack @wavs @audio
features @audio @fbank bins=20
extract @audio @found.parquet --model @model
extract @wavs @other.parquet --model @model
export @model @half --to model --half
export @model @model.onnx
"""


def write_scoring(place: str) -> None:
    random = np.random.default_rng(0)
    for name, rows in (("emb", 24), ("train", 40)):
        ids, speakers = zip(*((f"{name}{row:02}", f"{name}-{row % 6}") for row in range(rows)))
        vectors = random.normal(size=(rows, 4)).astype(np.float32)
        write_embeddings(f"{place}/{name}.parquet", Embeddings(list(ids), vectors, list(speakers), "m"))
    ids = [f"emb{row:02}" for row in range(24)]
    pairs = [(one, other) for one in range(24) for other in range(one)]
    lines = (f"{ids[one]} {ids[other]} {'non' * (one % 6 != other % 6)}target\n" for one, other in pairs)
    write_text(f"{place}/trials.txt", "".join(lines))
    write_text(f"{place}/spk2utt", "".join(f"{name} {name}\n" for name in ids))
    write_text(f"{place}/weights", "".join(f"{ids[one]} {ids[other]} {1 + one % 2}\n" for one, other in pairs))
    table = "".join(f"{name},emb-{row % 6},{1 + row % 4}\n" for row, name in enumerate(ids))
    write_text(f"{place}/table.csv", f"id,speaker,seconds\n{table}")


def write_recordings(place: str, wav: Path, model: Path) -> None:
    random = np.random.default_rng(0)
    wav.mkdir(exist_ok=True)
    for number in range(6):
        soundfile.write(wav / f"{number}.wav", random.integers(-9000, 9000, 9000).astype(np.int16), 16000)
    paths = sorted(wav.iterdir())
    write_datadir(f"{place}/wavs", from_columns([path.name for path in paths], [*map(str, paths)], list("aabbcc")))
    for path in model.iterdir():
        if "://" in place:
            access.upload(path, Url(f"{place}/model/{path.name}"))
        else:
            Path(place, "model").mkdir(exist_ok=True)
            Path(place, "model", path.name).write_bytes(path.read_bytes())


def content(place: str) -> dict[str, bytes]:
    """All files at a place; the pages name their sources."""
    if "://" in place:
        url = Url(place)
        found = {name: (url / name).read_bytes() for name in access.files_below(url)}
    else:
        paths = [path for path in Path(place).rglob("*") if path.is_file()]
        found = {str(path.relative_to(place)): path.read_bytes() for path in paths}
    return found | {name: found[name].replace(place.encode(), b"@") for name in found if name.endswith(".html")}


def carry_out(commands: str, place: str) -> None:
    for line in commands.strip().splitlines():
        clear()
        done = CliRunner().invoke(cli.root, line.replace("@", f"{place}/").split())
        assert done.exit_code == 0, (line, done.output, done.exception)


def test_scoring(s3: Server, tmp_path: Path) -> None:
    places = str(tmp_path / "here"), "s3://bucket"
    for place in places:
        write_scoring(place)
        carry_out(SCORING, place)
    here, there = map(content, places)
    assert there.keys() == here.keys() and len(here) > 30
    assert [name for name in here if here[name] != there[name]] == []


def test_recordings_packs_and_models(s3: Server, tmp_path: Path, tiny_model: Path) -> None:
    places = str(tmp_path / "here"), "s3://bucket"
    for place in places:
        write_recordings(place, tmp_path / "wav", tiny_model)
        carry_out(RECORDINGS, place)
    here, there = map(content, places)
    assert there.keys() == here.keys() and len(here) > 30
    assert [name for name in here if here[name] != there[name]] == []


def test_file_urls_are_paths(tmp_path: Path) -> None:
    write_scoring(f"file://{tmp_path}/here")
    carry_out("score-all @emb.parquet @all.csv --test @train.parquet", f"file://{tmp_path}/here")
    assert (tmp_path / "here/all.csv").read_text().count("\n") == 1 + 24 * 40

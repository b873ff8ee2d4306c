"""Mean cosine of two models' embeddings of the same recordings, each without the mean of its file.

python tests/benchmarks/agreement.py STUDENT.parquet TEACHER.parquet
"""

from __future__ import annotations

import argparse

import numpy as np

from spkver.embeddings import read_embeddings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs=2, metavar="EMBEDDINGS")
    files = [read_embeddings(path) for path in parser.parse_args().files]
    names = sorted(set(files[0].ids) & set(files[1].ids))
    rows = [dict(zip(file.ids, _unit(file.vectors))) for file in files]
    one, other = (np.stack([of[name] for name in names]) for of in rows)
    cosines = (_unit(one - one.mean(0)) * _unit(other - other.mean(0))).sum(1)
    print(f"{len(names)} recordings: mean cosine {cosines.mean():.3f}")


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


if __name__ == "__main__":
    main()

"""Reading a pack by URL, from an S3 server on this machine (moto), in the order of training; and from the disk.

python tests/benchmarks/remote.py --megabytes 400
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from spkver.packs import Pack, PackWriter
from spkver.packs.order import in_windows
from spkver.storage import Url, upload

SECONDS, RATE = 10, 16000
SERVER = """
import sys, time
from moto.server import ThreadedMotoServer
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print(server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


def read(pack: Pack, window: float) -> float:
    """Seconds to read a crop of 2 s of every utterance."""
    begin = time.perf_counter()
    order = in_windows(pack, np.arange(len(pack)), np.random.default_rng(0), window)
    for number, end in enumerate(order.ends.tolist()):
        pack.fetch_ahead([shard for shards in order.shards[number : number + 2] for shard in shards])
        for row in order.rows[order.ends[number - 1] if number else 0 : end].tolist():
            np.array(pack.crop(row, 0, 2 * RATE))
    return time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=400)
    arguments = parser.parse_args()
    command = [sys.executable, "-c", SERVER]
    with (
        tempfile.TemporaryDirectory() as name,
        subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        ) as server,
    ):
        assert server.stdout is not None
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.stdout.readline().strip()}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "us-east-1",
            "SPKVER_CACHE": f"{name}/cache",
        }
        import boto3

        boto3.resource("s3").Bucket("bucket").create()
        samples = np.random.default_rng(0).integers(-9000, 9000, SECONDS * RATE).astype("<i2")
        rows = arguments.megabytes * 1_000_000 // samples.nbytes
        with PackWriter(Path(name, "p"), kind="audio", sample_rate=RATE, rows_per_shard=50) as pack:
            for row in range(rows):
                pack.add(f"u{row:06}", "s", "", samples)
        size = rows * samples.nbytes / 1e6
        begin = time.perf_counter()
        upload.put([(Path(name, "p"), Url("s3://bucket/p"))], "pack.json")
        took = time.perf_counter() - begin
        print(f"upload of {size:.0f} MB: {took:.1f} s, {size / took:.0f} MB/s")
        for what, place in (
            ("from the disk", f"{name}/p"),
            ("by URL", "s3://bucket/p"),
            ("from the cache", "s3://bucket/p"),
        ):
            begin = time.perf_counter()
            opened = Pack.open(place)
            start = time.perf_counter() - begin
            took = read(opened, 80e6)
            rates = f"{rows / took:.0f} utterances a second, {size / took:.0f} MB/s of shards"
            print(f"{what}: opened in {start:.2f} s; {rates}")
        server.stdin.close()  # type: ignore[union-attr]


if __name__ == "__main__":
    main()

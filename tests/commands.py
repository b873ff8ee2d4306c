"""`python commands.py FOLDER`: run the commands of a shell script, each in a fork of this process.

A recipe has dozens of commands, and most load torch for two seconds; here it is loaded once. FOLDER/bin gets
`spkver` and `python` (for `python -m MODULE`), which hand their words, folder and streams over to this process.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import socket
import sys
from pathlib import Path

CLIENT = """#!{python} -SE
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
words = [{first!r}, *sys.argv[1:]] if {first!r} else sys.argv[1:]
socket.send_fds(server, [json.dumps([os.getcwd(), words]).encode() + b"\\n"], [0, 1, 2])
answer = server.recv(4)
sys.exit(int(answer) if answer else 137)
"""


def main(folder: Path) -> None:
    import pyarrow.parquet  # noqa: F401
    import scipy.optimize  # noqa: F401
    import torch

    import spkver.extraction
    import spkver.losses.margin_loss
    import spkver.models.xvector
    import spkver.packs
    import spkver.recipe  # noqa: F401

    torch.set_num_threads(1)  # a fork would lose threads
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.listen()
    (folder / "bin").mkdir()
    for name, first in (("spkver", "spkver"), ("python", "")):
        path = folder / "bin" / name
        path.write_text(CLIENT.format(python=sys.executable, address=str(folder / "socket"), first=first))
        path.chmod(0o755)
    print("ready", flush=True)
    while True:
        client, _ = listener.accept()
        message, streams, _, _ = socket.recv_fds(client, 1 << 20, 3)
        if os.fork() == 0:
            listener.close()
            _child(client, *json.loads(message), streams)
        for stream in streams:
            os.close(stream)
        client.close()


def _child(client: socket.socket, folder: str, words: list[str], streams: list[int]) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    module = "spkver" if words[0] == "spkver" else words[1]
    sys.argv = [module, *words[1 if words[0] == "spkver" else 2 :]]
    code = 1
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0 if end.code is None else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        client.sendall(str(code).encode())
        os._exit(code)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

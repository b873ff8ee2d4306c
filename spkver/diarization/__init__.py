"""Find who speaks when: speech, embeddings of windows, clusters of windows, turns."""

from __future__ import annotations

from spkver.registry import Registry

CLUSTERINGS = Registry(
    "clustering",
    {
        "agglomerative": "spkver.diarization.agglomerative:Agglomerative",
        "spectral": "spkver.diarization.spectral:Spectral",
        "vbx": "spkver.diarization.vbx:Vbx",
    },
)

"""Metrics for Prometheus. None has a name of a person, tenant or model."""

from __future__ import annotations

import os

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest, multiprocess

FOLDER = "PROMETHEUS_MULTIPROC_DIR"  # of prometheus_client: where processes share their metrics; set before the import

REQUESTS = Counter("spkver_requests", "Requests by route and status.", ["method", "route", "status"])
SECONDS = Histogram("spkver_request_seconds", "Seconds from the request to the end of the answer.", ["route"])
RUNNING = Gauge("spkver_running", "Requests in progress.", multiprocess_mode="livesum")
WAITING = Gauge("spkver_waiting", "Requests that wait.", multiprocess_mode="livesum")
STREAMS = Gauge("spkver_streams", "Open streams.", multiprocess_mode="livesum")
BATCH = Histogram("spkver_batch_size", "Recordings in a batch.", buckets=[1, 2, 4, 8, 16, 32, 64])


def text() -> bytes:
    """All metrics, of all processes, in the text format of Prometheus."""
    if FOLDER not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    multiprocess.MultiProcessCollector(registry)
    return generate_latest(registry)

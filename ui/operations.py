"""For whoever runs a studio, and for what watches over it: does it live, can it draw, how much has it done."""

from __future__ import annotations

from collections.abc import Iterable

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response

from engine import Engine, is_loopback

_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")
_WORKER = ("starting", "ready", "drawing", "lost")


def add_operations(app: FastAPI, engine: Engine) -> None:
    @app.get("/healthz")
    def healthz() -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """200 while the page serves; `worker` says whether pictures can be drawn."""
        health = engine.health()
        return JSONResponse({"status": "ok", "ready": health.is_ready, "worker": health.worker, "queued": health.queued, "model": health.model})

    @app.get("/readyz")
    def readyz() -> JSONResponse:  # pyright: ignore[reportUnusedFunction]
        """200 once pictures can be drawn, 503 until then and while a lost worker is replaced."""
        health = engine.health()
        return JSONResponse({"ready": health.is_ready, "worker": health.worker}, 200 if health.is_ready else 503)

    @app.get("/metrics")
    def metrics(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        """Prometheus text, for this machine only unless a setting says otherwise."""
        if not engine.settings.metrics_public and not _is_from_here(request):
            return PlainTextResponse("Metrics are for this machine only. Start the studio with --metrics-public to change that.\n", 403)
        # Imported when it is asked for: the page starts without it.
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Studio(engine))  # pyright: ignore[reportArgumentType]
        return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


def _is_from_here(request: Request) -> bool:
    # What a proxy on this machine passes on comes from somewhere else.
    return request.client is not None and is_loopback(request.client.host) and not any(name in request.headers for name in _FORWARDED)


class _Studio:
    """Asked at every scrape; nothing is counted in between."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterable[object]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        counts, health = self._engine.counts(), self._engine.health()
        waiting = GaugeMetricFamily("easel_jobs_open", "Jobs that wait or run.", labels=["state"])
        for state in ("queued", "running"):
            waiting.add_metric([state], counts.jobs[state])
        yield waiting
        ended = CounterMetricFamily("easel_jobs_ended", "Jobs by how they ended.", labels=["ending"])
        for state in ("done", "cancelled", "failed"):
            ended.add_metric([state], counts.jobs[state])
        yield ended
        yield CounterMetricFamily("easel_pictures", "Finished pictures.", value=counts.pictures)
        yield CounterMetricFamily("easel_drawing_seconds", "Seconds that finished pictures took to draw.", value=counts.seconds)
        worker = GaugeMetricFamily("easel_worker", "1 for the state that the worker is in.", labels=["state"])
        for state in _WORKER:
            worker.add_metric([state], float(health.worker == state))
        yield worker

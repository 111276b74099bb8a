"""Every setting of a studio, from flags, environment (`EASEL_…`) and `.env`; flags win."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from engine.contract.memory import MemoryChoice


class Settings(BaseSettings):
    """Easel: a studio for concept art in the browser."""

    model_config = SettingsConfigDict(
        env_prefix="EASEL_",
        env_file=".env",
        extra="ignore",
        frozen=True,
        cli_prog_name="app.py",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
    )

    host: str = Field("127.0.0.1", description="address to listen on; anything but loopback also needs --auth-file or --public")
    port: int = Field(7860, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    data: Path = Field(Path("data"), description="folder for pictures, models and the database")
    database_url: str = Field("", description="PostgreSQL for several servers, as postgresql://…; empty is easel.db in the data folder")
    public: bool = Field(False, description="let everybody in who can reach the address")
    auth_file: Path | None = Field(None, description="people who may sign in, a line each from: python -m engine password NAME")
    operators: str = Field("", description="people who may manage models, by name, with commas; without --auth-file whoever is at this machine may")
    frames: str = Field("", description="other sites that may show the studio in a frame, with a space between")
    model: str = Field("starter", description="name of the model that is loaded at start")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps …; several, as cuda:0,cuda:1, work side by side")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="precision of the weights")
    memory: MemoryChoice = Field("automatic", description="how models are laid in: automatic, or always in one way, as in the Models tab")
    memory_gb: float | None = Field(None, gt=0, description="gigabytes of the device's memory that may be used; empty is what it has")
    worker: Literal["process", "inline"] = Field("process", description="draw in a process of its own, or in this one")
    visitor_adapters: bool = Field(False, description="let visitors of a public studio bring LoRA files")
    queue_limit: int = Field(100, ge=1, description="jobs that one visitor may have waiting")
    device_seconds_per_hour: float | None = Field(None, gt=0, description="seconds of drawing that one visitor has in an hour")
    upload_mb: float | None = Field(None, gt=0, description="megabytes of brought pictures that are kept for one visitor")
    picture_limit: int | None = Field(None, ge=1, description="finished pictures that are kept for one visitor")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="how much is logged")
    mcp: bool = Field(False, description="offer the endpoints as MCP tools at /gradio_api/mcp; needs requirements-mcp.txt")
    metrics_public: bool = Field(False, description="answer /metrics to other machines too, not only to this one")

    @property
    def operator_names(self) -> frozenset[str]:
        return frozenset(name for one in self.operators.split(",") if (name := one.strip()))

    @property
    def devices(self) -> tuple[str, ...]:
        """One worker each."""
        return tuple(name for one in self.device.split(",") if (name := one.strip())) or ("auto",)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

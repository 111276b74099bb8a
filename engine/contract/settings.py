"""Every setting of a studio, from flags, environment (`EASEL_…`) and `.env`; flags win."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict


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

    host: str = Field("127.0.0.1", description="address to listen on; anything but loopback also needs --public")
    port: int = Field(7860, ge=0, le=65535, description="port to listen on; 0 picks a free one")
    data: Path = Field(Path("data"), description="folder for pictures, models and the database")
    public: bool = Field(False, description="allow an address that strangers can reach")
    model: str = Field("starter", description="name of the model that is loaded at start")
    device: str = Field("auto", description="auto, cpu, cuda, cuda:1, mps …")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="precision of the weights")
    worker: Literal["process", "inline"] = Field("process", description="draw in a process of its own, or in this one")
    visitor_adapters: bool = Field(False, description="let visitors of a public studio bring LoRA files")
    queue_limit: int = Field(100, ge=1, description="jobs that one visitor may have waiting")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="how much is logged")

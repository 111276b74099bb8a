"""Start the studio: settings, engine, page, serve. `python app.py --help` lists every setting."""

from __future__ import annotations

import gc
import importlib.util
import os
import signal
import socket
import sys
from types import FrameType


def main() -> int:
    """Everything is imported in here: a worker process imports this module again and needs none of it."""
    # What is imported stays: to look through all of it for garbage, again and again, would be a sixth of the start.
    gc.disable()
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
    from pydantic import ValidationError

    from engine import Engine, EngineError, Settings, is_loopback, set_up_logs

    try:
        settings = Settings(_cli_parse_args=True)  # type: ignore[call-arg]
    except ValidationError as error:
        for one in error.errors():
            print(f"--{'.'.join(map(str, one['loc']))}: {one['msg']} (it is {one['input']!r}).", file=sys.stderr)
        return 2
    set_up_logs(settings.log_level)
    if os.environ.get("SPACE_ID"):
        settings = settings.model_copy(update={"host": "0.0.0.0", "public": True, "frames": "https://huggingface.co"})
    if not settings.public and settings.auth_file is None and not is_loopback(settings.host):
        print(
            f"{settings.host} can be reached by strangers. Add --auth-file to let people sign in, or --public if everybody may come.", file=sys.stderr
        )
        return 2
    if settings.mcp and importlib.util.find_spec("mcp") is None:
        print("--mcp needs one more package. Install it with: pip install -r requirements-mcp.txt", file=sys.stderr)
        return 2
    # Also where whoever started this ignores Ctrl + C, as a shell does for what runs behind it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        # Before anything is started: a second studio on the same port would take jobs of the first one.
        listener = _listen(settings.host, settings.port)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        print(f"Port {settings.port} of {settings.host} cannot be used: {why}. Choose another one with --port.", file=sys.stderr)
        return 2
    try:
        with listener, Engine(settings) as engine:
            _serve(engine, settings.host, listener, is_apart=settings.worker == "process")
    except EngineError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        # While it was still starting.
        return 130
    return 0


def _listen(host: str, port: int) -> socket.socket:
    return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)


def _serve(engine: object, host: str, listener: socket.socket, *, is_apart: bool) -> None:
    import uvicorn

    from ui.stubs import leave_stubs_alone

    leave_stubs_alone()
    from ui.server import build_app
    from ui.wire import ThinLine

    app = build_app(engine)  # type: ignore[arg-type]

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.bell.close()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(app, host=host, http=ThinLine, log_level="warning", timeout_graceful_shutdown=3)
    # The server notices both signals itself and raises them again when it has shut down; the engine still has to close.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: None)
    # Not where a model is loaded in this process: one that goes has to go whole.
    if is_apart:
        gc.freeze()
    gc.enable()
    print(f"Easel is at http://{host}:{listener.getsockname()[1]}", flush=True)
    Server(config).run(sockets=[listener])


if __name__ == "__main__":
    sys.exit(main())

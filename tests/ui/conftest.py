"""One running studio for every test of the page's server, and a client with a session of its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from gradio_client import Client

from tests.studio import Studio


@pytest.fixture(scope="package")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    with Studio(tmp_path_factory.mktemp("studio")) as running:
        running.wait_ready()
        yield running


@pytest.fixture(scope="package")
def client(studio: Studio) -> Client:
    return Client(studio.url, verbose=False)

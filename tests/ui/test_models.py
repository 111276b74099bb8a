"""What the Models tab asks the server: what is here, what fits, and who may change it."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from engine import Engine, Settings
from engine.library.passwords import hashed_line
from tests.library.key_tables import sd1, write
from tests.library.test_catalogue import second
from ui.controls.model import model_or_default, offered, size_labels, usual
from ui.login import Login
from ui.models import add_models, models_view, size_words

HEADERS = {"X-Easel": "1", "Content-Type": "application/json"}


def studio(data: Path, **settings: Any) -> TestClient:
    """The routes of the tab around an engine that never starts."""
    (data / "models").mkdir(parents=True, exist_ok=True)
    second(data / "models")
    app, engine = FastAPI(), Engine(Settings(data=data, worker="inline", device="cpu", **settings))
    add_models(app, engine)
    if engine.people is not None:
        app.add_middleware(Login, people=engine.people, secret=engine.secret)
    return TestClient(app)


def ask(client: TestClient, what: str, name: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
    answer = client.post(f"/models/{what}", content=json.dumps({"name": name}), headers={**HEADERS, **headers})
    return answer.status_code, answer.json()


def as_person(name: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()}


def test_what_is_here_stands_first_with_its_facts(tmp_path: Path) -> None:
    client = studio(tmp_path)
    write(tmp_path / "models" / "a.safetensors", sd1())
    status, view = ask(client, "view")
    assert status == 200
    assert [(one["name"], one["refusal"] is None) for one in view["models"]] == [("starter", True), ("second", True), ("a.safetensors", False)]
    starter = view["models"][0]
    assert (starter["title"], starter["size"], starter["licence"], starter["is_default"], starter["is_bundled"]) == (
        "Easel starter",
        "37 MB",
        "Apache-2.0",
        True,
        True,
    )
    assert starter["fits"].startswith("0.2 of ")
    assert starter["is_possible"]
    assert len(view["offers"]) >= 12
    assert all(one["command"] and one["licence_link"].startswith("https://") and one["fits"] for one in view["offers"])
    assert str(tmp_path) not in json.dumps(view)
    assert ask(client, "words", "starter")[1]["text"].startswith("# ")


def test_an_offer_that_is_here_is_no_offer_any_more(tmp_path: Path) -> None:
    client = studio(tmp_path)
    name = ask(client, "view")[1]["offers"][0]["name"]
    (tmp_path / "models" / "second").rename(tmp_path / "models" / name)
    assert name not in [one["name"] for one in ask(client, "view")[1]["offers"]]


def test_whoever_is_at_this_machine_chooses_the_default_and_deletes(tmp_path: Path) -> None:
    client = studio(tmp_path)
    status, view = ask(client, "default", "second")
    assert (status, view["default"], view["may_manage"]) == (200, "second", True)
    status, refused = ask(client, "remove", "second")
    assert (status, refused["message"]) == (422, "This model is the default of this studio.")
    ask(client, "default", "starter")
    status, view = ask(client, "remove", "second")
    assert (status, [one["name"] for one in view["models"]]) == (200, ["starter"])
    assert len(list((tmp_path / "bin").iterdir())) == 1
    assert ask(client, "default", "nothing")[0] == 422


def test_visitors_of_a_public_studio_only_look(tmp_path: Path) -> None:
    client = studio(tmp_path, public=True)
    assert ask(client, "view")[1]["may_manage"] is False
    assert ask(client, "default", "second")[0] == 403
    assert ask(client, "remove", "second")[0] == 403
    assert ask(client, "view")[1]["default"] == "starter"


def test_with_a_login_the_settings_name_the_operators(tmp_path: Path) -> None:
    (tmp_path / "people").write_text(f"{hashed_line('ada', 'a password')}\n{hashed_line('bob', 'another one')}\n")
    client = studio(tmp_path / "data", auth_file=tmp_path / "people", operators="ada, eve")
    ada, bob = as_person("ada", "a password"), as_person("bob", "another one")
    assert ask(client, "view", **bob)[1]["may_manage"] is False
    assert ask(client, "default", "second", **bob)[0] == 403
    assert ask(client, "default", "second")[0] == 401
    assert ask(client, "default", "second", **ada)[0] == 200


@pytest.mark.parametrize("body", [b"", b"[1]", b'{"name": 5}', b'{"name": "../../etc"}', b"{", b'{"name": "' + b"x" * 600_000 + b'"}'])
def test_odd_questions_change_nothing(tmp_path: Path, body: bytes) -> None:
    client = studio(tmp_path)
    assert client.post("/models/remove", content=body, headers=HEADERS).status_code in (413, 422)
    assert client.post("/models/remove", content=b'{"name": "second"}', headers={"Content-Type": "application/json"}).status_code == 403
    assert client.get("/models/remove").status_code == 405
    assert (tmp_path / "models" / "second").is_dir()


def test_the_form_follows_the_model(tmp_path: Path) -> None:
    second(tmp_path / "models")
    engine = Engine(Settings(data=tmp_path, worker="inline"))
    card = model_or_default(engine, "second")
    values = offered(card, usual(card))
    assert (values["model"], values["steps"], size_labels(card)) == ("second", 11, ["128 × 128"])
    assert (values["size"]["choices"], values["size"]["value"]) == ([("128 × 128", "128 × 128")], "128 × 128") or values["size"]["choices"] == [
        "128 × 128"
    ]
    assert "value" not in offered(card, {})["size"]
    assert model_or_default(engine, "gone").name == "starter"
    assert model_or_default(engine, None).name == "starter"
    assert models_view(engine, False)["may_manage"] is False


def test_sizes_are_said_as_files_are_counted() -> None:
    assert [size_words(count) for count in (0, 37_400_000, 999_999_999, 4_270_000_000)] == ["under 1 MB", "37 MB", "1000 MB", "4.3 GB"]

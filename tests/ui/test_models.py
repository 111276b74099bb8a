"""What the Models tab asks the server: what is here, what fits, and who may change it."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from engine import Engine, Room, Settings
from engine.library.passwords import hashed_line
from tests.conftest import STARTER
from tests.hub import COMMIT, TinyHub, files_of
from tests.library.key_tables import sd1, write
from tests.library.test_catalogue import second
from tests.studio import wait_for
from ui.controls.model import model_or_default, offered, size_labels, usual
from ui.fetching import add_fetching
from ui.login import Login
from ui.models import add_models, left_words, models_view, of_words, size_words, speed_words
from ui.owner import COOKIE

HEADERS = {"X-Easel": "1", "Content-Type": "application/json"}


def studio(data: Path, **settings: Any) -> TestClient:
    """The routes of the tab around an engine that never starts."""
    (data / "models").mkdir(parents=True, exist_ok=True)
    if not (data / "models" / "second").exists():
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


def test_with_a_login_only_operators_bring_files_from_the_hub(tmp_path: Path) -> None:
    (tmp_path / "people").write_text(f"{hashed_line('ada', 'a password')}\n{hashed_line('bob', 'another one')}\n")
    app, engine = FastAPI(), Engine(Settings(data=tmp_path / "data", worker="inline", device="cpu", auth_file=tmp_path / "people", operators="ada"))
    add_fetching(app, engine)
    assert engine.people is not None
    app.add_middleware(Login, people=engine.people, secret=engine.secret)
    client, cookie = TestClient(app), {"Cookie": f"{COOKIE}={'v' * 43}"}
    for path, field in (("/hub/loras", "loras"), ("/hub/loras/fetch", "loras"), ("/hub/preprocessors/fetch", "controls")):
        bob = client.post(path, content='{"name": "nobody here"}', headers={**HEADERS, **cookie, **as_person("bob", "another one")})
        assert (bob.status_code, bob.json()["field"]) == (422, field)
        assert bob.json()["message"] == "Only those who run this studio can bring files from the hub."
        ada = client.post(path, content='{"name": "nobody here"}', headers={**HEADERS, **cookie, **as_person("ada", "a password")})
        assert "Only those who run" not in ada.text


def test_the_memory_plan_is_the_operators_and_lasts(tmp_path: Path) -> None:
    client = studio(tmp_path)
    memory = ask(client, "view")[1]["memory"]
    assert (memory["choice"], memory["is_given"], len(memory["plans"])) == ("automatic", False, 8)
    ask(client, "default", "second")
    status, view = ask(client, "memory", "parts")
    assert (status, view["memory"]["choice"], view["default"]) == (200, "parts", "second")
    assert all("one part at a time" in one["fits"] for one in view["models"] if one["name"] == "starter")
    for wrong, said in (("pieces", "this device has no memory of its own"), ("lighter", "There is no memory plan")):
        status, refused = ask(client, "memory", wrong)
        assert (status, refused["field"]) == (422, "memory")
        assert said in refused["message"]
    # The next start finds both; one that was told otherwise does not listen.
    again = ask(studio(tmp_path), "view")[1]
    assert (again["memory"]["choice"], again["default"]) == ("parts", "second")
    told = studio(tmp_path, memory="everything")
    assert ask(told, "view")[1]["memory"]["choice"] == "everything"
    assert ask(told, "memory", "parts")[1]["message"] == "This studio was started with --memory everything."
    # What was chosen and cannot work any more does not count.
    (tmp_path / "studio.json").write_text('{"memory": "pieces"}')
    assert ask(studio(tmp_path), "view")[1]["memory"]["choice"] == "automatic"
    public = studio(tmp_path, public=True)
    assert ask(public, "memory", "parts")[0] == 403


@pytest.mark.parametrize(
    ("choice", "package", "requirements"), [("int8", "torchao", "requirements-quantised.txt"), ("nf4", "bitsandbytes", "requirements-nf4.txt")]
)
def test_a_plan_whose_package_is_missing_says_how_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, choice: str, package: str, requirements: str
) -> None:
    client = studio(tmp_path)
    status, view = ask(client, "memory", choice)
    assert (status, view["memory"]["choice"]) == (200, choice)
    monkeypatch.setattr("engine.memory.find_spec", lambda name: None if name == package else object())
    # What was chosen and cannot work any more does not count.
    assert ask(client, "view")[1]["memory"]["choice"] == "automatic"
    status, refused = ask(client, "memory", choice)
    assert (status, refused["field"]) == (422, "memory")
    assert f"the package {package} is not installed here: pip install -r {requirements}." in refused["message"]
    monkeypatch.undo()
    assert ask(client, "view")[1]["memory"]["choice"] == choice


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


# From the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[TinyHub]:
    files = files_of(STARTER)
    with TinyHub({"ada/small": files, "ada/none": {"x.bin": b"pickle"}}, {"license": "apache-2.0"}) as tiny:
        monkeypatch.setenv("HF_ENDPOINT", tiny.endpoint)
        yield tiny


def until_here(client: TestClient, name: str) -> dict[str, Any]:
    wait_for(lambda: name in [one["name"] for one in ask(client, "view")[1]["models"]], 30, f"{name} to be here")
    return next(one for one in ask(client, "view")[1]["models"] if one["name"] == name)


def test_a_model_is_looked_at_agreed_to_and_then_here(tmp_path: Path, hub: TinyHub) -> None:
    client = studio(tmp_path)
    status, look = ask(client, "look", "ada/small")
    assert status == 200
    assert (look["id"], look["size"], look["licence"], look["commit"], look["family"]) == (
        f"ada/small@{COMMIT}", size_words(sum(len(one) for path, one in files_of(STARTER).items() if not path.endswith(("scorer.safetensors", ".npz")))),
        "apache-2.0", COMMIT[:12], "Stable Diffusion 1",
    )  # fmt: skip
    assert look["fits"].startswith("0.2 of ")
    assert look["has_disk"]
    assert look["other"] is None
    # Looking brings nothing, and a name that was not looked at brings nothing.
    assert ask(client, "view")[1]["downloads"] == []
    assert ask(client, "download", "ada/small")[0] == 422
    hub.goes_on.clear()
    status, now = ask(client, "download", look["id"])
    assert (status, [(one["name"], one["is_open"]) for one in now["downloads"]]) == (200, [("small", True)])
    assert "small" not in [one["name"] for one in ask(client, "view")[1]["models"]]
    assert ask(client, "download", look["id"])[0] == 422
    hub.goes_on.set()
    card = until_here(client, "small")
    assert (card["refusal"], card["licence"], card["source"]) == (None, "apache-2.0", f"ada/small @ {COMMIT[:12]}")
    assert ask(client, "downloads")[1]["downloads"] == []
    assert str(tmp_path) not in json.dumps(ask(client, "view")[1])


def test_a_download_is_stopped_gone_on_with_and_removed(tmp_path: Path, hub: TinyHub) -> None:
    client = studio(tmp_path)
    look = ask(client, "look", "ada/small")[1]
    hub.bytes_per_s = 4_000_000
    ask(client, "download", look["id"])
    wait_for(lambda: any(one["share"] > 0.02 for one in ask(client, "downloads")[1]["downloads"]), 30, "some of it")
    (told,) = ask(client, "downloads/stop", "small")[1]["downloads"]
    assert (told["state"], told["is_open"], told["from"]) == ("stopped", False, f"ada/small @ {COMMIT[:12]}")
    assert 0 < told["share"] < 1
    # A studio that is started again offers to go on.
    again = studio(tmp_path)
    assert [one["state"] for one in ask(again, "view")[1]["downloads"]] == ["stopped"]
    # The first one lets go of it within a breath.
    wait_for(lambda: ask(again, "downloads/remove", "small")[0] == 200, 10, "it to be let go")
    assert ask(again, "downloads")[1]["downloads"] == []
    assert ask(again, "downloads/resume", "small")[0] == 422
    hub.bytes_per_s = None
    assert ask(again, "download", look["id"])[0] == 200
    until_here(again, "small")


def test_what_cannot_be_brought_is_a_sentence(tmp_path: Path, hub: TinyHub) -> None:
    client = studio(tmp_path)
    for name, said in (
        ("", "names nothing on the hub"),
        ("ada/none", "no model_index.json"),
        ("http://127.0.0.1/a/b", "names nothing"),
        ("ada/x", "There is no ada/x"),
    ):
        status, refused = ask(client, "look", name)
        assert (status, refused["field"]) == (422, "model")
        assert said in refused["message"]
        assert refused["hint"]
    hub.gated.add("ada/small")
    assert "HF_TOKEN" in ask(client, "look", "ada/small")[1]["hint"]


FETCHING = ("look", "download", "downloads", "downloads/resume", "downloads/stop", "downloads/remove")


@pytest.mark.parametrize("what", FETCHING)
def test_only_an_operator_downloads(tmp_path: Path, hub: TinyHub, what: str) -> None:
    public = studio(tmp_path / "public", public=True)
    assert ask(public, what, "ada/small")[0] == 403
    view = ask(public, "view")[1]
    assert (view["may_manage"], view["downloads"], view["suggestion"]) == (False, [], None)
    (tmp_path / "people").write_text(hashed_line("ada", "a password") + "\n" + hashed_line("bob", "another one") + "\n")
    client = studio(tmp_path / "team", auth_file=tmp_path / "people", operators="ada")
    assert ask(client, what, "ada/small", **as_person("bob", "another one"))[0] == 403
    assert ask(client, what, "ada/small")[0] == 401
    assert ask(client, what, "ada/small", **as_person("ada", "a password"))[0] != 403
    assert client.post(f"/models/{what}", content=b"{}", headers={"Content-Type": "application/json"}).status_code in (401, 403)
    assert hub.asked == [] or what == "look" or what == "download"


def test_a_graphics_card_gets_a_suggestion_until_something_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine(Settings(data=tmp_path, worker="inline", device="cpu"))
    assert engine.suggestion() is None
    monkeypatch.setattr("engine.memory.find_room", lambda *_: Room("GPU", 8 * 1024**3, is_host=False))
    view = models_view(engine, True)
    assert view["suggestion"] == "stable-diffusion-xl-base-1.0"
    assert models_view(engine, False)["suggestion"] is None
    second(tmp_path / "models", "mine")
    assert engine.suggestion() is None


def test_progress_is_said_in_words() -> None:
    assert [of_words(*one) for one in ((0, 900), (1_200_000_000, 6_938_000_000), (400_000, 37_000_000))] == [
        "0.0 of 0.9 kB",
        "1.2 of 6.9 GB",
        "0.4 of 37.0 MB",
    ]
    assert [speed_words(one) for one in (None, 0, 2_000, 1_240_000, 24_300_000)] == ["", "", "under 0.1 MB/s", "1.2 MB/s", "24 MB/s"]
    assert [left_words(one) for one in (None, 0.2, 40, 700, 9000)] == ["", "1 s left", "40 s left", "12 min left", "2.5 h left"]

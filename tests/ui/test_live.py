"""What the page asks while somebody writes: answered at once, checked like everything that a browser sends."""

from __future__ import annotations

import json
import shutil
import time
from typing import Any

import pytest

from engine import Counted
from engine.library.noise_plan import noise_plan
from tests.diffusion.families import make_family
from tests.studio import Studio
from tests.ui.test_routes import call
from ui.live import counts_view


def post(studio: Studio, path: str, body: bytes, *, header: bool = True) -> tuple[int, bytes]:
    return call(studio, path, body, header=header, kind="application/json")


def ask(studio: Studio, what: str, **given: object) -> dict[str, Any]:
    status, content = post(studio, f"/live/{what}", json.dumps(given).encode())
    assert status == 200, content
    return json.loads(content)


def test_words_are_counted_and_judged(studio: Studio) -> None:
    assert ask(studio, "words", control="prompt", text="a red castle") == {
        "counts": [{"last": 3, "room": 75, "chunks": 1, "encoder": ""}], "remarks": [], "is_new": False, "unknown": [],
    }  # fmt: skip
    long = ask(studio, "words", control="prompt", text="a " * 80)["counts"]
    assert (long[0]["last"], long[0]["chunks"]) == (5, 2)
    new = ask(studio, "words", control="prompt", text="steampunk zeppelin over victorian london")
    assert new["is_new"]
    assert "zeppelin" in new["unknown"]
    assert not ask(studio, "words", control="negative_prompt", text="steampunk zeppelin")["is_new"]
    (refused,) = ask(studio, "words", control="negative_prompt", text="a __nowhere__")["remarks"]
    assert refused["is_refusal"]
    assert "no wildcard list named nowhere" in refused["text"]


def test_encoders_that_read_differently_are_told_apart() -> None:
    clip, other = Counted("tokenizer", 80, 2, 75, (), (), last=5), Counted("tokenizer_3", 90, 1, 256, (), (), last=90)
    assert [one["encoder"] for one in counts_view((clip, clip))] == [""]
    assert counts_view((clip, other))[1] == {"last": 90, "room": 256, "chunks": 1, "encoder": "encoder 2"}
    assert counts_view(()) == []


def test_a_style_is_shown_to_the_letter(studio: Studio) -> None:
    groups = ask(studio, "styles", control="prompt")["groups"]
    assert sum(len(group["styles"]) for group in groups) == 49
    assert [group["group"] for group in ask(studio, "styles", control="negative_prompt")["groups"]] == ["Against weak spots"]
    shown = ask(studio, "style", style="Blueprint", prompt="a castle", negative_prompt="blurry")
    before, own, behind = shown["prompt"]
    assert (before, own) == ("blueprint of ", "a castle")
    assert behind.startswith(", white lines")
    assert shown["negative_prompt"] == ["", "blurry", ", shading, colour, photograph"]
    status, content = post(studio, "/live/style", json.dumps({"style": "Nothing"}).encode())
    assert (status, json.loads(content)["message"]) == (422, "There is no style named Nothing here.")


def test_what_can_be_named_says_whether_it_fits(studio: Studio) -> None:
    (studio.data / "embeddings").mkdir(exist_ok=True)
    (studio.data / "embeddings" / "old.pt").write_bytes(b"pickled")
    offers = ask(studio, "offers")
    assert {one["name"] for one in offers["loras"]} >= {"ink", "neon"}
    assert "colour" in [one["name"] for one in offers["wildcards"]]
    (old,) = [one for one in offers["embeddings"] if one["name"] == "old"]
    assert "pickle" in old["refusal"]


def test_the_plan_of_the_steps(studio: Studio) -> None:
    chosen = {"scheduler": "euler", "schedule": "karras", "steps": 20, "guidance": 4, "strength": 0.6}
    plan = ask(studio, "plan", mode="img2img", **chosen)
    assert (len(plan["shares"]), plan["start"], plan["advice"], plan["refusal"]) == (21, 8, [], None)
    assert ask(studio, "plan", mode="txt2img", **chosen)["start"] == 0
    assert "few for Euler" in ask(studio, "plan", **{**chosen, "steps": 6})["advice"][0]
    refused = ask(studio, "plan", **{**chosen, "scheduler": "ddim"})
    assert (refused["shares"], refused["refusal"][:29]) == ([], "Noise schedule cannot be Karr")


def test_the_plan_of_a_flow_follows_the_size(studio: Studio) -> None:
    folder = make_family(studio.data / "models" / "klein", "flux2")

    def shares(**given: object) -> list[float]:
        return ask(studio, "plan", model="klein", scheduler="flow_euler", steps=4, **given)["shares"]

    def wanted(width: int, height: int) -> list[float]:
        return list(noise_plan(folder, "flow_euler", None, 4, (width, height)))

    try:
        assert shares() == wanted(1024, 1024) != wanted(512, 512)
        assert shares(size="512 × 512", mode="txt2img") == wanted(512, 512)
        # One's own edge stands above the preset's.
        assert shares(size="512 × 512", width="1024", mode="inpaint") == wanted(1024, 512)
        # An edit has the shape of its source, and is as large, unless it is asked for another.
        edit = {"mode": "img2img", "how": "edit", "size": "1024 × 1024", "source": [512, 256]}
        assert shares(**edit) == wanted(512, 256)
        assert shares(**edit, height="512") == wanted(512, 512)
        for odd in ([0, 0], [True, None], [10**400, 10**400], "512 × 256", {"width": 512}):
            assert shares(**{**edit, "source": odd}) == wanted(1024, 1024)
        marked = ask(studio, "plan", model="klein", scheduler="flow_unipc", steps=10, mode="img2img", strength=0.6)
        assert (len(marked["shares"]), marked["start"]) == (11, 4)
        odd = ask(studio, "plan", model="klein", scheduler="flow_euler", width="wide")
        assert (odd["field"], odd["shares"]) == ("width", [])
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize("what", ["words", "style", "styles", "plan"])
@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null", b'{"control": ["prompt"], "scheduler": {}, "style": 7}', b"[" * 50_000])
def test_nonsense_is_refused(studio: Studio, what: str, body: bytes) -> None:
    assert post(studio, f"/live/{what}", body)[0] == 422


def test_strangers_and_heavy_bodies_are_turned_away(studio: Studio) -> None:
    assert post(studio, "/live/words", b"{}", header=False)[0] == 403
    assert post(studio, "/live/words", b"x" * 600_000)[0] == 413


@pytest.mark.parametrize(
    ("field", "odd"), [*(("steps", odd) for odd in ("many", -1, 1e9, True, "")), *(("width", odd) for odd in ("1", "513", "wide", "1e9", "-64"))]
)
def test_half_a_number_is_an_answer_and_no_failure(studio: Studio, field: str, odd: object) -> None:
    """A person who types has written "1" before "128": the plan says what is wrong, and with which control."""
    found = ask(studio, "plan", scheduler="euler", **{field: odd})
    assert (found["field"], found["shares"], found["advice"]) == (field, [], [])
    assert "Choose" in found["refusal"]
    assert ask(studio, "plan", scheduler="euler", steps=None, strength="x")["field"] is None


@pytest.mark.timed
def test_a_keystroke_is_answered_at_once(studio: Studio) -> None:
    ask(studio, "words", control="prompt", text="warm")
    took: list[float] = []
    for number in range(20):
        start = time.perf_counter()
        ask(studio, "words", control="prompt", text=f"a (red:1.2) castle __colour__ [day:night:0.5], number {number} " * 20)
        took.append(time.perf_counter() - start)
    assert sorted(took)[10] < 0.15

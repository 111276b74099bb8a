"""Answers of the server that fill the form: Generate waits for them, so that nothing is drawn from what stood there before."""

from __future__ import annotations

from typing import Any

# Given to an event as its `js`: since when the form is being filled. `typing.js` waits for the end of it.
BEGINS = "(...values) => { window.easelFilling = Date.now(); return values; }"
# Not at once: of several quick choices the framework asks for the last one only after the first has been answered.
_ENDS = """() => {
  const begun = window.easelFilling;
  window.dispatchEvent(new Event("easel:filled"));
  setTimeout(() => { if (window.easelFilling === begun) window.easelFilling = 0; }, 250);
}"""


def ends(event: Any) -> None:
    """Say on the page that the answer to `event`, whatever it was, is in the form."""
    event.then(None, None, None, js=_ENDS, queue=False, show_progress="hidden", api_visibility="private")

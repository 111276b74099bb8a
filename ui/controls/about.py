"""What stands in the dialog "About this model": the model card and the data card in short, read from its folder."""

from __future__ import annotations

from engine import Fit, ModelCard


def about_view(card: ModelCard, fits: Fit | None) -> list[dict[str, str]]:
    """Titles and texts in the order of reading. What its folder says comes first; what can be seen from outside is always there.

    `fits` is how it is laid into the memory here, where that is known.
    """
    lines = [("In short", card.note), *((line.title, line.text) for line in card.about)]
    if card.licence and not any(title == "Licence" for title, _ in lines):
        lines.append(("Licence", card.licence))
    if not card.licence:
        lines.append(("Licence", "Its folder does not say. Ask whoever made it before you sell pictures."))
    width, height = card.default_size
    here = f"{card.name}, family {card.family_title or card.family}, {card.bytes_on_disk / 1e6:,.0f} MB of weights, made for {width} × {height}."
    lines.append(("On this machine", f"{here} Memory: {fits.text}." if fits else here))
    return [{"title": title, "text": text} for title, text in lines if text]

"""More at once: a grid over two controls, or a dataset with one class for each choice of words."""

from __future__ import annotations

import gradio as gr

from engine import CONTROL_NAMES, VARIED

Fields = dict[str, gr.components.Component]
# The class on the body decides what is shown, so that a choice is answered without the server.
_SHOW = "(kind) => { document.body.dataset.sheet = kind || 'no'; }"


def build_more() -> Fields:
    fields: Fields = {}
    controls = [(CONTROL_NAMES[name], name) for name in VARIED]
    with gr.Accordion("More at once", open=False, elem_classes="fold", elem_id="ctl-vary"):
        kinds = [("One job", ""), ("Grid", "grid"), ("Dataset", "dataset")]
        fields["sheet"] = gr.Radio(kinds, value="", label="Draw", elem_id="ctl-sheet", elem_classes="chips")
        with gr.Column(elem_classes="group sheet-grid"):
            for axis, label, example in (("vary_x", "Across", "3, 6, 9"), ("vary_y", "Down", "10, 20, 40")):
                with gr.Row():
                    first = "guidance_scale" if axis == "vary_x" else None
                    fields[axis] = gr.Dropdown(
                        controls,  # type: ignore[arg-type]
                        value=first,
                        label=label,
                        elem_id=f"ctl-{axis}",
                        min_width=110,
                    )
                    fields[f"{axis}_values"] = gr.Textbox(
                        label="Values", placeholder=example, max_lines=1, elem_id=f"ctl-{axis}_values", min_width=110
                    )
        gr.HTML(
            "<p>Write choices into the prompt, for example <b>a {red|blue} castle</b>. Each choice is a class, drawn as often as “How many” says; "
            "the zip holds pictures, captions and the licence.</p>",
            elem_classes="note sheet-dataset",
        )
    fields["sheet"].change(None, fields["sheet"], None, js=_SHOW, show_progress="hidden", api_visibility="private")  # type: ignore[attr-defined]
    return fields

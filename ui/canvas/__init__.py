"""The custom pieces: HTML and JavaScript of our own inside gr.HTML."""

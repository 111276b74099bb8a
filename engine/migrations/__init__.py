"""How the tables came to be, step by step. A new step is a file in `versions` and is never changed once it is released."""

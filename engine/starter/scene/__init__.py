"""The drawing of scenes: sky, land, subject, finish."""

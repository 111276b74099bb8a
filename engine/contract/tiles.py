"""Where the tiles of a large picture lie: pure arithmetic, so that page, estimate and engine agree."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Tile:
    """One tile in pixels of the large picture. `left_blend` and `top_blend` are the widths of its overlaps there, 0 at the border."""

    x: int
    y: int
    width: int
    height: int
    left_blend: int
    top_blend: int

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Left, top, right, bottom."""
        return (self.x, self.y, self.x + self.width, self.y + self.height)


def starts(length: int, tile: int, overlap: int, *, grid: int = 8) -> list[int]:
    """First pixels of tiles that cover `length` evenly with at least `overlap` pixels shared, on multiples of `grid` but for the last."""
    if length <= tile:
        return [0]
    count = -(-(length - overlap) // (tile - overlap))
    last = length - tile
    return [min(round(last * k / (count - 1) / grid) * grid, last) if k < count - 1 else last for k in range(count)]


def plan_tiles(width: int, height: int, tile_width: int, tile_height: int, overlap: int) -> list[Tile]:
    """Tiles row by row. Each is whole; where the picture is smaller than a tile, the tile is as small as the picture."""
    tile_width, tile_height = min(tile_width, width), min(tile_height, height)
    columns = starts(width, tile_width, min(overlap, tile_width // 2))
    rows = starts(height, tile_height, min(overlap, tile_height // 2))
    tiles: list[Tile] = []
    for row, y in enumerate(rows):
        for column, x in enumerate(columns):
            left = columns[column - 1] + tile_width - x if column else 0
            top = rows[row - 1] + tile_height - y if row else 0
            tiles.append(Tile(x, y, tile_width, tile_height, left, top))
    return tiles

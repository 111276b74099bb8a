"""The file of people who may sign in: one line each, `name:scrypt$cost$block$lanes$salt$hash`. Passwords are never kept."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from pathlib import Path

from engine.contract.errors import InvalidRequest

# OWASP's advice for scrypt where 32 MB may be used for each attempt: 2^15, 8, 3.
_COST, _BLOCK, _LANES = 2**15, 8, 3
_MEMORY_BYTES = 64 * 1024 * 1024
_LENGTH_MIN, _LENGTH_MAX = 8, 256
_NAME = re.compile(r"[A-Za-z0-9._@-]{1,64}")


def hashed_line(name: str, password: str) -> str:
    """A line for the file. Raises `InvalidRequest` for a name or password that cannot be."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest("This name cannot be.", "Use up to 64 letters, digits, dots, dashes, underscores or @.", "name")
    if not _LENGTH_MIN <= len(password) <= _LENGTH_MAX:
        raise InvalidRequest(f"The password has {len(password)} characters.", f"Choose {_LENGTH_MIN} to {_LENGTH_MAX}.", "password")
    salt = secrets.token_bytes(16)
    digest = _scrypt(password, salt, _COST, _BLOCK, _LANES)
    return f"{name}:scrypt${_COST}${_BLOCK}${_LANES}${_text(salt)}${_text(digest)}"


class People:
    """Who may sign in. The file is read once: a change needs a restart, so that nothing half written ever lets anybody in."""

    def __init__(self, path: Path) -> None:
        self._lines = _read(path)
        # Checked for names that nobody has, so that the time taken does not tell which names there are.
        self._nobody = hashed_line("nobody", secrets.token_urlsafe(16)).partition(":")[2]

    def is_right(self, name: str, password: str) -> bool:
        """Takes about a tenth of a second on purpose."""
        stored = self._lines.get(name, self._nobody)
        _, cost, block, lanes, salt, digest = stored.split("$")
        found = _scrypt(password[:_LENGTH_MAX], base64.b64decode(salt), int(cost), int(block), int(lanes))
        return hmac.compare_digest(found, base64.b64decode(digest)) and name in self._lines

    def stamp(self, name: str) -> str | None:
        """Changes with the password; None for nobody. What is signed with it ends when the password changes."""
        return self._lines.get(name)


def _read(path: Path) -> dict[str, str]:
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidRequest(f"Cannot read {path}.", "Make it with: python -m engine password NAME >> FILE", "auth_file") from error
    people = {line.partition(":")[0]: line.partition(":")[2] for line in lines if line and not line.startswith("#")}
    if not people or not all(_NAME.fullmatch(name) and _is_sound(stored) for name, stored in people.items()):
        raise InvalidRequest(f"{path} is no list of people.", "Each line comes from: python -m engine password NAME", "auth_file")
    return people


def _is_sound(stored: str) -> bool:
    parts = stored.split("$")
    try:
        numbers = [int(part) for part in parts[1:4]]
        sizes = [len(base64.b64decode(part, validate=True)) for part in parts[4:]]
    except ValueError:
        return False
    return parts[0] == "scrypt" and numbers == [_COST, _BLOCK, _LANES] and sizes == [16, 32]


def _scrypt(password: str, salt: bytes, cost: int, block: int, lanes: int) -> bytes:
    return hashlib.scrypt(password.encode(), salt=salt, n=cost, r=block, p=lanes, maxmem=_MEMORY_BYTES, dklen=32)


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()

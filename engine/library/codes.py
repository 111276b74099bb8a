"""Short codes by which a second device becomes the same visitor: told once, good once, for a few minutes."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time

from sqlalchemy import delete, insert, or_, select, update

from engine.contract.errors import Busy, NotFound
from engine.contract.results import DeviceCode
from engine.contract.sheet import Sheet
from engine.store import Store, jobs_table, pictures_table, sheets_table
from engine.store import codes_table as codes
from engine.store import inputs_table as inputs

# Nothing that looks or sounds like something else; eight of them are forty bits, and guessing is throttled besides.
LETTERS = "ABCDEFGHJKMNPQRSTUVWXYZ23456789"
LENGTH = 8
_GOOD_S = 180


class Codes:
    """Only a keyed hash of a code is kept, so a stolen database opens nothing. `secret` is the studio's own."""

    def __init__(self, store: Store, secret: bytes) -> None:
        self._store = store
        self._key = hmac.new(secret, b"device codes", hashlib.sha256).digest()

    def make(self, owner: str) -> DeviceCode:
        """A new code for an owner; the one before it ends."""
        text = "".join(secrets.choice(LETTERS) for _ in range(LENGTH))
        now = time.time()
        with self._store.begin() as db:
            db.execute(delete(codes).where(or_(codes.c.owner == owner, codes.c.until <= now)))
            db.execute(insert(codes).values(digest=self._digest(text), owner=owner, until=now + _GOOD_S))
        return DeviceCode(f"{text[:4]} {text[4:]}", _GOOD_S)

    def use(self, text: str) -> str:
        """The owner whose code this is; from now on it is nobody's. Raises `NotFound`, in the same words whatever is wrong."""
        good = (codes.c.digest == self._digest(plain(text)), codes.c.until > time.time())
        with self._store.begin() as db:
            # One statement: of two who come with one code, one gets in.
            owner = db.execute(delete(codes).where(*good).returning(codes.c.owner)).scalar_one_or_none()
        if owner is None:
            raise NotFound("This code is wrong, used, or more than three minutes old.", "Show a new one on the other device.", "code")
        return str(owner)

    def _digest(self, text: str) -> str:
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()


def plain(text: str) -> str:
    """A code as it was made, however it was typed: "abcd-efgh" is "ABCDEFGH"."""
    return "".join(letter for letter in text[:64].upper() if letter in LETTERS)


def adopt(store: Store, owner: str, into: str) -> None:
    """Give everything of one owner to another. Raises `Busy` while jobs of theirs are open: whoever draws them knows their owner."""
    with store.begin() as db:
        open_jobs = select(jobs_table.c.id).where(jobs_table.c.owner == owner, jobs_table.c.state.in_(("queued", "running", "paused")))
        if db.execute(open_jobs.limit(1)).scalar_one_or_none() is not None:
            raise Busy("Jobs of this device are still open.", "Let them finish or stop them, then enter the code again.", "code")
        for table in (jobs_table, pictures_table):
            db.execute(update(table).where(table.c.owner == owner).values(owner=into))
        for sheet_id, content in db.execute(select(sheets_table.c.id, sheets_table.c.content).where(sheets_table.c.owner == owner)).all():
            moved = Sheet.model_validate_json(content).model_copy(update={"owner": into})
            db.execute(update(sheets_table).where(sheets_table.c.id == sheet_id).values(owner=into, content=moved.model_dump_json()))
        theirs = select(inputs.c.hash).where(inputs.c.owner == into)
        db.execute(update(inputs).where(inputs.c.owner == owner, inputs.c.hash.not_in(theirs)).values(owner=into))
        db.execute(delete(inputs).where(inputs.c.owner == owner))

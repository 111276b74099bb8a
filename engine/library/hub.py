"""The Hugging Face hub: what lies there, and bringing it here. Whole and as promised, or not at all; a broken line goes on where it broke.

The library's own `hf_hub_download` throws away what it has read when the line breaks, so the reading is done here with its parts.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.contract.errors import Busy, DamagedFile, DiskFull, EngineError, NotFound, Unreachable
from engine.contract.hub import HubFile, HubName, HubOffer, is_inside

# Bytes that are here, of all that will be.
Report = Callable[[int, int], None]
_ANSWER_S = 15.0
_OFFERS_MAX = 24
_CHUNK = 1024 * 1024
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Repository:
    """What lies in a repository at one commit, by path, and what its card says: `licence`, `trigger`, `base`."""

    name: str
    revision: str
    files: dict[str, HubFile]
    facts: dict[str, str]
    is_gated: bool = False


class Hub:
    """`endpoint` is another address of the same service; None is what HF_ENDPOINT says, else huggingface.co.

    `patience_s` is how long it may say nothing, also in the middle of a file.
    """

    def __init__(self, endpoint: str | None = None, *, patience_s: float = _ANSWER_S) -> None:
        # The library has read its environment when it was first imported, which may have been before it was said.
        self._endpoint = endpoint or os.environ.get("HF_ENDPOINT") or None
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._underway: set[Path] = set()

    def offers(self, wanted: HubName, field: str) -> tuple[HubOffer, ...]:
        """The .safetensors files that a name may mean, pinned to the commit of now. Raises `NotFound` or `EngineError` about `field`."""
        found = self.repository(wanted, field)
        files = [one for path, one in found.files.items() if path.lower().endswith(".safetensors")]
        chosen = [one for one in files if wanted.file in (None, one.path)]
        if not chosen:
            what = f"no {wanted.file}" if wanted.file and wanted.file.lower().endswith(".safetensors") else "no .safetensors file that this names"
            there = ", ".join(one.path for one in files[:6])
            hint = f"It holds {there}." if there else "Other formats can hide programs; ask its author for the adapter as safetensors."
            raise NotFound(f"There is {what} in {wanted.repository}.", hint, field)
        return tuple(
            HubOffer(repository=found.name, revision=found.revision, path=one.path, size_bytes=one.size_bytes, sha256=one.sha256, **found.facts)
            for one in chosen[:_OFFERS_MAX]
        )

    def repository(self, wanted: HubName, field: str) -> Repository:
        """What lies there now, pinned to the commit of now. Nothing is fetched. Raises as `offers` does."""
        from huggingface_hub import HfApi

        with _in_words(wanted.repository, field):
            api = HfApi(endpoint=self._endpoint)
            info: Any = api.model_info(wanted.repository, revision=wanted.revision, files_metadata=True, timeout=self._patience_s)
        if not _COMMIT.fullmatch(str(info.sha)):
            raise EngineError("The hub's answer names no commit.", "Is HF_ENDPOINT the address of a hub? Try again in a while.", field)
        files = {
            str(one.rfilename): HubFile(
                wanted.repository, str(info.sha), str(one.rfilename), int(one.size or 0), str(one.lfs.sha256) if one.lfs else "",
                "" if one.lfs else str(one.blob_id or ""),
            )
            for one in info.siblings or [] if is_inside(str(one.rfilename))
        }  # fmt: skip
        return Repository(wanted.repository, str(info.sha), files, _facts(info), bool(getattr(info, "gated", False)))

    def read(self, file: HubFile, count: int, field: str) -> bytes:
        """The first `count` bytes of a file, or all of it where it is shorter; nothing is kept. Raises as `fetch` does."""
        found = bytearray()
        with _in_words(file.repository, field), self._stream(file, f"bytes=0-{count - 1}") as answer:
            for chunk in answer.iter_bytes():
                found += chunk
                if len(found) >= count:
                    break
        return bytes(found[:count])

    def fetch(self, files: Iterable[HubFile], folder: Path, *, what: str, field: str, report: Report | None = None) -> None:
        """Every file under its own path in `folder`, each with the size and hash that it should have.

        What a broken line left stays in the folder, and the next call goes on from there. Raises `Busy` when the same
        folder is being filled, `DiskFull`, `DamagedFile`, or `EngineError` that says why it could not.
        """
        wanted = tuple(files)
        total = sum(one.size_bytes for one in wanted)
        with self._alone(folder, what, field):
            folder.mkdir(parents=True, exist_ok=True)
            here = sum(_size(path) for one in wanted for path in (folder / one.path, _part(folder, one)))
            if (free := shutil.disk_usage(folder).free) < (total - here) * 1.1:
                message = f"There is no room for {_size_words(total - here)}: the studio's disk has {_size_words(free)} left."
                raise DiskFull(message, "Free some space, then try again.", field)
            done = 0
            for one in wanted:
                self._bring(one, folder, field, lambda read, before=done: report(before + read, total) if report else None)
                done += one.size_bytes

    def here_bytes(self, folder: Path, file: HubFile) -> int:
        """How much of a file lies in a folder that `fetch` has begun to fill."""
        return _size(folder / file.path) or _size(_part(folder, file))

    def _bring(self, file: HubFile, folder: Path, field: str, report: Callable[[int], None]) -> None:
        target, part = folder / file.path, _part(folder, file)
        if _size(target) == file.size_bytes and _is_as_promised(target, file):
            report(file.size_bytes)
            return
        target.parent.mkdir(parents=True, exist_ok=True)
        if _size(part) > file.size_bytes:
            part.unlink()
        if _size(part) < file.size_bytes:
            try:
                with _in_words(file.repository, field):
                    self._read(file, part, report)
            except EngineError as error:
                at = _size(part) / 1e6
                if not at or isinstance(error, (DiskFull, NotFound)):
                    raise
                raise type(error)(error.message, f"{error.hint} {at:.1f} MB are here: the next try goes on from there.".strip(), field) from error
        if _size(part) != file.size_bytes or not _is_as_promised(part, file):
            # Never begun upon again: going on from wrong bytes would be wrong for ever.
            part.unlink(missing_ok=True)
            message = f"{file.path} of {file.repository} arrived with other bytes than the hub promised."
            raise DamagedFile(message, "It was thrown away. Fetch it again; if it happens twice, do not use it.", field)
        part.replace(target)

    def _read(self, file: HubFile, part: Path, report: Callable[[int], None]) -> None:
        here = _size(part)
        with self._stream(file, f"bytes={here}-" if here else "") as answer:
            is_rest = answer.status_code == 206
            with part.open("ab" if is_rest else "wb") as target:
                here = here if is_rest else 0
                for chunk in answer.iter_bytes():
                    here += target.write(chunk)
                    report(here)
                    if here > file.size_bytes:
                        break
                target.flush()
                os.fsync(target.fileno())

    @contextmanager
    def _stream(self, file: HubFile, wanted: str) -> Generator[Any]:
        """The answer with a file's bytes; `wanted` is a range, or "" for the whole."""
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        url = hf_hub_url(file.repository, file.path, revision=file.revision, endpoint=self._endpoint)
        # Bytes as they lie there: a compressed answer could not be gone on with.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity", **({"Range": wanted} if wanted else {})}
        with get_session().stream("GET", url, headers=headers, timeout=self._patience_s) as answer:
            hf_raise_for_status(answer)
            yield answer

    @contextmanager
    def _alone(self, folder: Path, what: str, field: str) -> Generator[None]:
        with self._lock:
            if folder in self._underway:
                raise Busy(f"{what} is being fetched already.", "Wait until it is here.", field)
            self._underway.add(folder)
        try:
            yield
        finally:
            with self._lock:
                self._underway.discard(folder)


@contextmanager
def _in_words(repository: str, field: str) -> Generator[None]:
    """The library's many ways to fail, as sentences."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        HTTPError,
        OfflineModeIsEnabled,
        RemoteEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError as error:
        hint = f"Agree to its terms at huggingface.co/{repository}, then start Easel with your token in HF_TOKEN."
        raise EngineError(f"{repository} is only for people who have agreed to its terms.", hint, field) from error
    except RevisionNotFoundError as error:
        raise NotFound(f"There is no such revision of {repository}.", "Leave it out, or copy it from the hub's page.", field) from error
    except RepositoryNotFoundError as error:
        hint = "Check owner and name; for a private one start Easel with your token in HF_TOKEN."
        raise NotFound(f"There is no {repository} on the hub, or it is private.", hint, field) from error
    except RemoteEntryNotFoundError as error:
        raise NotFound(f"That file is not in {repository} any more.", "Look it up again, or choose another one.", field) from error
    except HFValidationError as error:
        raise NotFound(f"{repository} names nothing on the hub.", "Check owner and name.", field) from error
    except HfHubHTTPError as error:
        raise _refusal(repository, error.response.status_code, field) from error
    except OfflineModeIsEnabled as error:
        raise EngineError(
            "This machine is set to work offline.", "Take HF_HUB_OFFLINE out of its environment to fetch from the hub.", field
        ) from error
    except HTTPError as error:
        raise Unreachable("The hub cannot be reached, or the line broke.", "Is this machine online? Then try again.", field) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("There is no room left on the studio's disk.", "Free some space, then try again: it goes on from there.", field) from error
        raise Unreachable("The hub cannot be reached, or the line broke.", "Is this machine online? Then try again.", field) from error
    except (ValueError, KeyError, TypeError) as error:
        raise EngineError("The hub's answer cannot be read.", "Is HF_ENDPOINT the address of a hub? Try again in a while.", field) from error


def _refusal(repository: str, status: int, field: str) -> EngineError:
    """What an answer without a code of the hub's own means."""
    if status == 401:
        return EngineError(
            "The hub wants a valid token from this machine (401).", "Start Easel with one in HF_TOKEN, or take a wrong one out.", field
        )
    if status == 403:
        hint = "Its owner has to let you in; then start Easel with your token in HF_TOKEN."
        return EngineError(f"The hub does not let this machine read {repository} (403).", hint, field)
    if status == 404:
        return NotFound(f"There is no {repository} on the hub, or that part of it has gone (404).", "Check owner and name.", field)
    if status == 429:
        hint = "Try again in some minutes; with a token in HF_TOKEN it allows more."
        return Unreachable("Too much was asked of the hub from here (429).", hint, field)
    return (Unreachable if status >= 500 else EngineError)(f"The hub answered with an error ({status}).", "Try again in a while.", field)


def _facts(info: Any) -> dict[str, str]:
    """What the repository's card says about all of its files."""
    card: dict[str, Any] = info.card_data.to_dict() if info.card_data else {}
    base = card.get("base_model")
    licence = card.get("license")
    if licence in (None, "", "other"):
        licence = card.get("license_name") or licence
    plain = {"licence": licence, "trigger": card.get("instance_prompt"), "base": base[0] if isinstance(base, list) and base else base}
    return {name: value.strip()[:120] for name, value in plain.items() if isinstance(value, str)}


def _part(folder: Path, file: HubFile) -> Path:
    """Where the beginning of a file lies: of this commit and no other."""
    return folder / f"{file.path}.{file.revision[:12]}.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _size_words(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def _is_as_promised(path: Path, file: HubFile) -> bool:
    with path.open("rb") as content:
        if file.sha256:
            return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256
        if not file.blob:
            return True
        # As git names a file: its size stands before its bytes.
        digest = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
        while chunk := content.read(_CHUNK):
            digest.update(chunk)
        return digest.hexdigest() == file.blob

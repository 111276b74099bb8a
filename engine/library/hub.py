"""The Hugging Face hub: what lies there, and bringing it here. Whole and as promised, or not at all; a broken line goes on where it broke.

The library's own `hf_hub_download` throws away what it has read when the line breaks, so the reading is done here with its parts.
"""

from __future__ import annotations

import errno
import hashlib
import re
import shutil
import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from engine.contract.errors import Busy, DamagedFile, DiskFull, EngineError, NotFound
from engine.contract.hub import HubFile, HubName, HubOffer

# Bytes that are here, of all that will be.
Report = Callable[[int, int], None]
_ANSWER_S = 15.0
_OFFERS_MAX = 24
_COMMIT = re.compile(r"[0-9a-f]{40}")


class Hub:
    """`endpoint` is another address of the same service; None is what HF_ENDPOINT says, else huggingface.co."""

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint
        self._lock = threading.Lock()
        self._underway: set[Path] = set()

    def offers(self, wanted: HubName, field: str) -> tuple[HubOffer, ...]:
        """The .safetensors files that a name may mean, pinned to the commit of now. Raises `NotFound` or `EngineError` about `field`."""
        from huggingface_hub import HfApi

        with _in_words(wanted.repository, field):
            info: Any = HfApi(endpoint=self._endpoint).model_info(wanted.repository, revision=wanted.revision, files_metadata=True, timeout=_ANSWER_S)
        if not _COMMIT.fullmatch(str(info.sha)):
            raise EngineError("The hub's answer names no commit.", "Is HF_ENDPOINT the address of a hub? Try again in a while.", field)
        files = [one for one in info.siblings or [] if str(one.rfilename).lower().endswith(".safetensors") and _is_inside(one.rfilename)]
        chosen = [one for one in files if wanted.file in (None, one.rfilename)]
        if not chosen:
            what = f"no {wanted.file}" if wanted.file and wanted.file.lower().endswith(".safetensors") else "no .safetensors file that this names"
            there = ", ".join(str(one.rfilename) for one in files[:6])
            hint = f"It holds {there}." if there else "Other formats can hide programs; ask its author for the adapter as safetensors."
            raise NotFound(f"There is {what} in {wanted.repository}.", hint, field)
        facts = _facts(info)
        return tuple(
            HubOffer(
                repository=wanted.repository, revision=str(info.sha), path=one.rfilename, size_bytes=int(one.size or 0),
                sha256=str(one.lfs.sha256) if one.lfs else "", **facts,
            )
            for one in chosen[:_OFFERS_MAX]
        )  # fmt: skip

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
            if shutil.disk_usage(folder).free < (total - here) * 1.1:
                raise DiskFull(f"There is no room for {total / 1e6:.0f} MB.", "Free some space, then try again.", field)
            done = 0
            for one in wanted:
                self._bring(one, folder, field, lambda read, before=done: report(before + read, total) if report else None)
                done += one.size_bytes

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
        from huggingface_hub import hf_hub_url
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        url = hf_hub_url(file.repository, file.path, revision=file.revision, endpoint=self._endpoint)
        here = _size(part)
        # Bytes as they lie there: a compressed answer could not be gone on with.
        headers = {**build_hf_headers(), "Accept-Encoding": "identity", **({"Range": f"bytes={here}-"} if here else {})}
        with get_session().stream("GET", url, headers=headers, timeout=_ANSWER_S) as answer:
            hf_raise_for_status(answer)
            is_rest = answer.status_code == 206
            with part.open("ab" if is_rest else "wb") as target:
                here = here if is_rest else 0
                for chunk in answer.iter_bytes():
                    here += target.write(chunk)
                    report(here)
                    if here > file.size_bytes:
                        break

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
        hint = "Agree to its terms on the hub, then give this machine your token: HF_TOKEN."
        raise EngineError(f"{repository} is only for people who have agreed to its terms.", hint, field) from error
    except RevisionNotFoundError as error:
        raise NotFound(f"There is no such revision of {repository}.", "Leave it out, or copy it from the hub's page.", field) from error
    except RepositoryNotFoundError as error:
        raise NotFound(f"There is no {repository} on the hub, or it is private.", "Check owner and name.", field) from error
    except RemoteEntryNotFoundError as error:
        raise NotFound(f"That file is not in {repository} any more.", "Look it up again, or choose another one.", field) from error
    except HFValidationError as error:
        raise NotFound(f"{repository} names nothing on the hub.", "Check owner and name.", field) from error
    except HfHubHTTPError as error:
        message = f"The hub answered with an error ({error.response.status_code})."
        raise EngineError(message, "Try again in a while.", field) from error
    except OfflineModeIsEnabled as error:
        raise EngineError(
            "This machine is set to work offline.", "Take HF_HUB_OFFLINE out of its environment to fetch from the hub.", field
        ) from error
    except HTTPError as error:
        raise EngineError("The hub cannot be reached, or the line broke.", "Is this machine online? Then try again.", field) from error
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFull("There is no room left on the studio's disk.", "Free some space, then try again: it goes on from there.", field) from error
        raise EngineError("The hub cannot be reached, or the line broke.", "Is this machine online? Then try again.", field) from error


def _facts(info: Any) -> dict[str, str]:
    """What the repository's card says about all of its files."""
    card: dict[str, Any] = info.card_data.to_dict() if info.card_data else {}
    base = card.get("base_model")
    licence = card.get("license")
    if licence in (None, "", "other"):
        licence = card.get("license_name") or licence
    plain = {"licence": licence, "trigger": card.get("instance_prompt"), "base": base[0] if isinstance(base, list) and base else base}
    return {name: value.strip()[:120] for name, value in plain.items() if isinstance(value, str)}


def _is_inside(path: str) -> bool:
    return not any(part in ("", ".", "..") for part in path.split("/")) and "\\" not in path


def _part(folder: Path, file: HubFile) -> Path:
    """Where the beginning of a file lies: of this commit and no other."""
    return folder / f"{file.path}.{file.revision[:12]}.part"


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _is_as_promised(path: Path, file: HubFile) -> bool:
    if not file.sha256:
        return True
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest() == file.sha256

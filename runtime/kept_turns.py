"""Turns that were paused or stopped, each in one file of the state folder, until they end.

A file is a mark, the authentication of the record, the record's length and the record (JSON), then the state of the
cache as the backend saved it. Both parts are authenticated by a key that lies beside them (HMAC-SHA-256, RFC 2104): the
C library ends its process on a state that was not made by itself, so it is given none that this user's Kangae did not
write. A damaged state is left out, and the ids are decoded again; a damaged record is refused.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import stat
import time
from pathlib import Path
from typing import Any, BinaryIO

from models.errors import CannotMeetError, KangaeError, UsageError
from models.locations import state_folder
from models.write_fault import write_error
from runtime.kept_turn import KeptTurn
from runtime.resumable import is_identity

_MARK = b"kangae turn 1\n"
_MAC_BYTES = _KEY_BYTES = 32
_LENGTH_BYTES = 8
_HEAD_BYTES = len(_MARK) + _MAC_BYTES + _LENGTH_BYTES
_MOST_RECORD = 64 << 20
MOST_STATE = 512 << 20
"""Bytes: a larger state takes longer to write than its ids take to decode again, or nearly."""
MOST_TURNS = 8
_MOST_BYTES = 2 << 30
_STALE_SECONDS = 3600.0


class KeptTurns:
    """The folder of kept turns (None: the one of this user); it is made by the first write. At most 8 turns and 2 GiB
    are kept: the oldest make room."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = state_folder() / "turns" if folder is None else folder

    def write(self, turn: KeptTurn, state: bytes = b"") -> None:
        """Keep a turn, in one step, in place of what was kept under its id. `state`: the cache of its first `held` ids;
        one above 512 MiB is left out. Raises WriteError; then nothing has changed."""
        state = state if len(state) <= MOST_STATE else b""
        path = self._path(turn.id)
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            key = self._key() or self._make_key()
            about = {"turn": turn.as_json(), "state": {"bytes": len(state), "mac": _mac(key, b"state", state).hex()}}
            record = json.dumps(about).encode()
            if len(record) > _MOST_RECORD:
                raise CannotMeetError(f"The turn takes {len(record)} bytes, so it is not kept.")
            try:
                descriptor = os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
                with open(descriptor, "wb") as file:
                    file.write(_MARK + _mac(key, b"record", record))
                    file.write(len(record).to_bytes(_LENGTH_BYTES, "big") + record)
                    file.write(state)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            except BaseException:
                with contextlib.suppress(OSError):
                    part.unlink()
                raise
        except OSError as error:
            raise write_error(path, error, "set KANGAE_STATE_DIR to another folder", what="The turn") from error
        self._make_room(path)

    def read(self, identity: str) -> KeptTurn:
        """The turn of this id. Raises UsageError where there is none, CannotMeetError where it is damaged."""
        with self._open(identity) as file:
            about, _ = self._read_record(file, self._path(identity))
        try:
            turn = KeptTurn.from_json(about["turn"])
        except (KeyError, TypeError, ValueError, KangaeError) as error:
            raise _damaged(self._path(identity), str(error)) from error
        if turn.id != identity:
            raise _damaged(self._path(identity), "it is another turn")
        return turn

    def state(self, identity: str) -> bytes:
        """The saved cache of a turn that can be read; empty where there is none, or where it is damaged."""
        try:
            with self._open(identity) as file:
                about, end = self._read_record(file, self._path(identity))
                size = about["state"]["bytes"]
                if not isinstance(size, int) or not 0 < size <= MOST_STATE:
                    return b""
                if os.fstat(file.fileno()).st_size != end + size:
                    return b""
                state = file.read(size)
            key = self._key()
            whole = key is not None and hmac.compare_digest(_mac(key, b"state", state).hex(), about["state"]["mac"])
            return state if whole else b""
        except (OSError, KeyError, TypeError, MemoryError):
            return b""

    def all(self) -> list[KeptTurn]:
        """All that can be read, the newest first."""
        turns = []
        for path in self._files():
            with contextlib.suppress(KangaeError):
                turns.append(self.read(path.stem))
        return sorted(turns, key=lambda turn: turn.kept, reverse=True)

    def find(self, start: str) -> str | None:
        """The id that begins with `start`; None: none does. Raises UsageError where several do."""
        found = sorted(path.stem for path in self._files() if start and path.stem.startswith(start))
        if len(found) > 1:
            raise UsageError(f"{start!r} begins the ids of several: {', '.join(one[:12] for one in found)}.")
        return found[0] if found else None

    def has(self, identity: str) -> bool:
        """Whether a turn is kept under this id."""
        return is_identity(identity) and self._path(identity).is_file()

    def remove(self, identity: str) -> None:
        """Forget a turn; nothing, where there is none. Raises WriteError."""
        if not is_identity(identity):
            return
        path = self._path(identity)
        try:
            path.unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            raise write_error(path, error, "remove that file by hand", what=f"The folder of {path}") from error

    def _path(self, identity: str) -> Path:
        if not is_identity(identity):
            raise UsageError(f"{identity!r} is no turn's id; see `kangae sessions list`.")
        return self.folder / f"{identity}.turn"

    def _files(self) -> list[Path]:
        try:
            return [path for path in self.folder.glob("*.turn") if is_identity(path.stem)]
        except OSError:
            return []

    def _open(self, identity: str) -> BinaryIO:
        path = self._path(identity)
        try:
            if not stat.S_ISREG(path.stat().st_mode):
                raise _damaged(path, "it is no file")
            return open(path, "rb")
        except (FileNotFoundError, NotADirectoryError) as error:
            raise UsageError(
                f"No turn is kept as {identity}: it has ended, or was never stopped. See `kangae sessions list`."
            ) from error
        except OSError as error:
            raise _damaged(path, error.strerror or str(error)) from error

    def _read_record(self, file: BinaryIO, path: Path) -> tuple[Any, int]:
        """The authenticated record, and where it ends."""
        head = file.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES or not head.startswith(_MARK):
            raise _damaged(path, "its beginning is no turn's")
        length = int.from_bytes(head[-_LENGTH_BYTES:], "big")
        if length > _MOST_RECORD:
            raise _damaged(path, f"its record would take {length} bytes")
        record, key = file.read(length), self._key()
        mac = head[len(_MARK) : len(_MARK) + _MAC_BYTES]
        if key is None or len(record) != length or not hmac.compare_digest(mac, _mac(key, b"record", record)):
            raise _damaged(path, "it is not as it was written here")
        return json.loads(record), _HEAD_BYTES + length

    def _key(self) -> bytes | None:
        """This user's key; None: there is none that can be read."""
        try:
            with open(self.folder / "key", "rb") as file:
                key = file.read(_KEY_BYTES + 1)
        except OSError:
            return None
        return key if len(key) == _KEY_BYTES else None

    def _make_key(self) -> bytes:
        """A new key, unless another process was faster. What was kept under a lost one cannot be read any more."""
        part = self.folder / f"key.{os.getpid()}.part"
        with open(os.open(part, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
        try:
            os.link(part, self.folder / "key")
        except FileExistsError:
            if self._key() is None:
                part.replace(self.folder / "key")
        finally:
            part.unlink(missing_ok=True)
        key = self._key()
        if key is None:
            raise OSError("the key that was just written cannot be read")
        return key

    def _make_room(self, newest: Path) -> None:
        """Forget the oldest turns beyond what may be kept, and what a killed process left half written."""
        with contextlib.suppress(OSError):
            for part in self.folder.glob("*.part"):
                if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                    part.unlink(missing_ok=True)
            sizes = [(path.stat().st_mtime, path.stat().st_size, path) for path in self._files() if path != newest]
            count, taken = 1, newest.stat().st_size
            for _, size, path in sorted(sizes, reverse=True):
                count, taken = count + 1, taken + size
                if count > MOST_TURNS or taken > _MOST_BYTES:
                    path.unlink(missing_ok=True)


def _mac(key: bytes, part: bytes, data: bytes) -> bytes:
    return hmac.digest(key, part + b"\0" + hashlib.sha256(data).digest(), "sha256")


def _damaged(path: Path, why: str) -> CannotMeetError:
    return CannotMeetError(f"The turn in {path} cannot be gone on with ({why}); ask again, or remove that file.")

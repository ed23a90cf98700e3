"""Turns that are under way, paused or stopped, each in files of the state folder, until they end.

ID.turn is a mark, the authentication of the record, the record's length and the record (JSON); ID.state is the state of
the cache as the backend saved it, behind an authentication that also names the ids it stands for. The key of both lies
beside them (HMAC-SHA-256, RFC 2104): the C library ends its process on a state that was not made by itself, so it is
given none that this user's Kangae did not write. A damaged state, or one of other ids, is left out, and the ids are
decoded again; a damaged record is refused. ID.lock is held by the process that is at the turn.
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
from models.whole_file import unfinished
from models.write_fault import write_error
from runtime.backends.backend import State
from runtime.request import is_identity
from runtime.turn.kept_turn import KeptTurn
from runtime.turn.lock import TurnLock, is_held, take_lock

_MARK = b"kangae turn 2\n"
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
    are kept: the oldest that no process is at make room."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = state_folder() / "turns" if folder is None else folder

    def hold(self, identity: str) -> TurnLock:
        """Be the only process that is at this turn, until the lock is let go or the process ends. Raises UsageError
        where another one is."""
        with contextlib.suppress(OSError):  # told by the write
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = take_lock(self._lock_of(self._path(identity)))
        if lock is None:
            raise UsageError(f"The turn {identity} is under way in another process; stop it there, or let it end.")
        return lock

    def is_held(self, identity: str) -> bool:
        """Whether a process is at this turn."""
        return is_held(self._lock_of(self._path(identity)))

    def write(self, turn: KeptTurn, state: State | None = b"") -> None:
        """Keep a turn, in place of what was kept under its id. `state`: the cache of its first `held` ids, one above
        512 MiB is left out; None: what is kept of its cache stays. Raises WriteError; what was kept before can then
        still be gone on with, if not always from its cache."""
        path = self._path(turn.id)
        saved = path.with_suffix(".state")
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            key = self._key() or self._make_key()
            record = json.dumps(turn.as_json()).encode()
            if len(record) > _MOST_RECORD:
                raise CannotMeetError(f"The turn takes {len(record)} bytes, so it is not kept.")
            head = _MARK + _mac(key, b"record", record) + len(record).to_bytes(_LENGTH_BYTES, "big")
            contents: dict[Path, tuple[State, State]] = {}
            if state and len(state) <= MOST_STATE:
                contents[saved] = (_mac(key, _of_ids(turn), state), state)
            elif state is not None:
                saved.unlink(missing_ok=True)
            contents[path] = (head, record)
            with unfinished(*contents, mode=0o600) as parts:
                for part, content in zip(parts, contents.values(), strict=True):
                    with open(part, "wb") as file:
                        file.writelines(content)
        except OSError as error:
            raise write_error(path, error, "set KANGAE_STATE_DIR to another folder", what="The turn") from error
        self._make_room(path)

    def read(self, identity: str) -> KeptTurn:
        """The turn of this id. Raises UsageError where there is none, CannotMeetError where it is damaged."""
        with self._open(identity) as file:
            record = self._read_record(file, self._path(identity))
        try:
            turn = KeptTurn.from_json(record)
        except (KeyError, TypeError, ValueError, KangaeError) as error:
            raise _damaged(self._path(identity), str(error)) from error
        if turn.id != identity:
            raise _damaged(self._path(identity), "it is another turn")
        return turn

    def state(self, turn: KeptTurn) -> bytes:
        """The saved cache of the first `held` ids of a turn; empty where there is none, where it is damaged, or of
        other ids."""
        path = self._path(turn.id).with_suffix(".state")
        try:
            status, key = path.stat(), self._key()
            if key is None or not stat.S_ISREG(status.st_mode) or status.st_size > MOST_STATE + _MAC_BYTES:
                return b""
            with open(path, "rb") as file:
                mac, state = file.read(_MAC_BYTES), file.read()
            return state if hmac.compare_digest(mac, _mac(key, _of_ids(turn), state)) else b""
        except (OSError, MemoryError):
            return b""

    def all(self) -> list[KeptTurn]:
        """All that can be read and that no process is at, the newest first."""
        turns = []
        for path in self._files():
            if not is_held(self._lock_of(path)):
                with contextlib.suppress(KangaeError):
                    turns.append(self.read(path.stem))
        return sorted(turns, key=lambda turn: turn.kept, reverse=True)

    def find(self, start: str) -> str | None:
        """The id that is `start`, or begins with it; None: none does. Raises UsageError where several begin so."""
        if self.has(start):
            return start
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
            path.with_suffix(".state").unlink(missing_ok=True)
        except NotADirectoryError:
            return
        except OSError as error:
            if not any(map(os.path.lexists, (path, path.with_suffix(".state")))):
                return  # a disk that is read-only refuses even to remove what is not there
            raise write_error(path, error, "remove that file by hand", what=f"The folder of {path}") from error

    def forget(self, older_than_days: float) -> int:
        """Forget the turns that were kept longer ago, but those that a process is at. Returns how many. Raises
        WriteError."""
        oldest, count = time.time() - older_than_days * 86400, 0
        for path in self._files():
            try:
                kept = self.read(path.stem).kept
            except KangaeError:  # what cannot be read is not to stay for that
                kept = _written(path)
            if kept < oldest and not is_held(self._lock_of(path)):
                self.remove(path.stem)
                count += 1
        return count

    def _path(self, identity: str) -> Path:
        if not is_identity(identity):
            raise UsageError(f"{identity!r} is no turn's id; see `kangae sessions list`.")
        return self.folder / f"{identity}.turn"

    @staticmethod
    def _lock_of(path: Path) -> Path:
        return path.with_suffix(".lock")

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

    def _read_record(self, file: BinaryIO, path: Path) -> Any:
        """The authenticated record."""
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
        return json.loads(record)

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
        """Forget the oldest turns beyond what may be kept, and what a killed process left."""
        with contextlib.suppress(OSError):
            for part in self.folder.glob("*.part"):
                if time.time() - part.stat().st_mtime > _STALE_SECONDS:
                    part.unlink(missing_ok=True)
            for left in (*self.folder.glob("*.lock"), *self.folder.glob("*.state")):
                if not left.with_suffix(".turn").exists() and not is_held(self._lock_of(left)):
                    left.unlink(missing_ok=True)
            found = [(path.stat().st_mtime, path) for path in self._files() if path != newest]
            count, taken = 1, _size(newest)
            for _, path in sorted(found, reverse=True):
                count, taken = count + 1, taken + _size(path)
                if (count > MOST_TURNS or taken > _MOST_BYTES) and not is_held(self._lock_of(path)):
                    self.remove(path.stem)


def _written(path: Path) -> float:
    """When a file was written, in seconds since 1970; now, where it is gone."""
    try:
        return path.stat().st_mtime
    except OSError:
        return time.time()


def _size(path: Path) -> int:
    """Bytes of a turn with its cache."""
    saved = path.with_suffix(".state")
    return path.stat().st_size + (saved.stat().st_size if saved.exists() else 0)


def _of_ids(turn: KeptTurn) -> bytes:
    """For the authentication of a cache: what it is of."""
    ids = json.dumps(turn.history[: turn.held]).encode()
    return b"state " + hashlib.sha256(ids).digest()


def _mac(key: bytes, part: bytes, data: State) -> bytes:
    return hmac.digest(key, part + b"\0" + hashlib.sha256(data).digest(), "sha256")


def _damaged(path: Path, why: str) -> CannotMeetError:
    return CannotMeetError(f"The turn in {path} cannot be gone on with ({why}); ask again, or remove that file.")

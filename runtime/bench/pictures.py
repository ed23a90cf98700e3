"""Pictures of measurements, as PNG and SVG: their looks, and the folder they are written to.

They are made for a column of 80 mm. Colours are those of Okabe and Ito (https://jfly.uni-koeln.de/color/), which
colour-blind people tell apart; lines differ in their marks and dashes too. Equal figures give equal files.
"""

from __future__ import annotations

import contextlib
import errno
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from models.errors import MissingPackageError
from models.whole_file import require_writable, unfinished
from models.write_fault import write_error

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH: Final = 80 / 25.4
HEIGHT: Final = 66 / 25.4
"""Inches."""
_DOTS: Final = 300  # an inch: 945 across
_ELSEWHERE: Final = "name another folder with --plot"
_COLOURS: Final = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_MARKS: Final = ("o", "s", "^", "D", "v", "P")
_DASHES: Final = ("-", "--", "-.", ":")
_LOOKS: Final[Mapping[str, Any]] = {
    "font.family": ["DejaVu Sans"],
    "font.size": 7.0,
    "axes.titlesize": 7.0,
    "axes.labelsize": 7.0,
    "xtick.labelsize": 6.0,
    "ytick.labelsize": 6.0,
    "legend.fontsize": 6.0,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.linewidth": 0.4,
    "grid.color": "#DDDDDD",
    "lines.linewidth": 1.0,
    "lines.markersize": 3.0,
    "svg.fonttype": "none",  # letters stay letters, so that a picture can be searched and read aloud
    "svg.hashsalt": "kangae",  # the names of shapes hang on this and on the shapes alone
}


def line_style(number: int) -> dict[str, str]:
    """What tells line `number` (from 0) from the others."""
    return {
        "color": _COLOURS[number % len(_COLOURS)],
        "marker": _MARKS[number % len(_MARKS)],
        "linestyle": _DASHES[number % len(_DASHES)],
    }


@contextlib.contextmanager
def looks() -> Iterator[None]:
    """Within, figures look as they do here, whatever the user's own matplotlibrc says. Not for two threads at once."""
    import matplotlib
    import matplotlib.style

    own: Any = dict(_LOOKS)  # newer releases list the names there are as types
    with matplotlib.style.context("default"), matplotlib.rc_context(own):
        yield


def files_of(figure: Figure, name: str) -> dict[str, bytes]:
    """A figure (drawn within `looks`) as `name.png` and `name.svg`."""
    found = {}
    about = {"png": {"Software": "Kangae"}, "svg": {"Date": None, "Creator": "Kangae"}}
    for form, metadata in about.items():
        content = io.BytesIO()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # a model may be called anything
            figure.savefig(content, format=form, dpi=_DOTS, metadata=metadata)
        found[f"{name}.{form}"] = content.getvalue()
    return found


def require_pictures(folder: Path) -> None:
    """Whether pictures can be written to `folder`, which is made if it is not there, and drawn; told before anything is
    measured. Raises WriteError, then MissingPackageError, which leaves no folder behind."""
    try:
        made = [place for place in (folder, *folder.parents) if not place.exists()]
        require_writable(folder)
    except OSError as error:
        raise write_error(folder, _told_rightly(error, folder), _ELSEWHERE) from error
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        for place in made:
            with contextlib.suppress(OSError):
                place.rmdir()
        raise MissingPackageError(
            "Pictures (--plot) need the package matplotlib, which is not installed; "
            "install it with `make run EXTRAS=plot` in Kangae's folder, or with `pip install matplotlib`."
        ) from error


def _told_rightly(error: OSError, folder: Path) -> OSError:
    """All folders on the way were there, or were to be made: where the system says all the same that there is none
    (as in /proc), it takes no new files."""
    if error.errno != errno.ENOENT:
        return error
    there = next(place for place in (folder, *folder.absolute().parents) if place.is_dir())
    return OSError(errno.EOPNOTSUPP, f"nothing can be made in {there}")


def write_pictures(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write all files, each whole or not at all; none takes its place before all are written. Raises WriteError."""
    try:
        with unfinished(*(folder / name for name in files)) as parts:
            for part, content in zip(parts, files.values(), strict=True):
                part.write_bytes(content)
    except OSError as error:
        raise write_error(folder, error, _ELSEWHERE) from error

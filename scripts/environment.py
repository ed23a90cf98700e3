"""Makes or refreshes .venv: `python3 scripts/environment.py --extras dev --gpu cuda`. Called by the Makefile.

This file is written for any Python, however old, so that an old one can say what to do; the work is in installer.py.
"""

import os
import subprocess
import sys

LEAST = (3, 11)

if sys.version_info[:2] < LEAST:
    search = "--search" in sys.argv
    for name in ("python3.13", "python3.12", "python3.11", "python3.14") if search else ():
        try:
            with open(os.devnull, "w") as silence:
                good = subprocess.call([name, "-c", "pass"], stdout=silence, stderr=silence) == 0
        except OSError:
            good = False
        if good:
            os.execvp(name, [name] + sys.argv)  # noqa: RUF005 - old Pythons know no star here
    found = ".".join(str(part) for part in sys.version_info[:3])
    sys.stderr.write(
        "Kangae needs Python 3.11 or newer, but " + str(sys.executable) + " is " + found + "; "
        "install a newer one (https://www.python.org/downloads) or name it: make run PYTHON=/path/to/python3.12\n"
    )
    sys.exit(1)

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from installer import main  # noqa: E402 - an old Python must not get as far as reading it

sys.exit(main(sys.argv[1:]))

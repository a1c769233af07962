"""Reads the program's own code from the file that was started, also after somebody has put another version in its place.

PyInstaller's loader opens the program by its path at each import. What is imported late in a long run, such as the answer to a command,
would be looked for at the same place in the newer file.
"""

import os

import pyimod02_importers

PROGRAM = "/proc/self/exe"

if os.path.exists(PROGRAM):  # noqa: PTH110 - pathlib costs each start more than this file
    pyimod02_importers.pyz_archive._filename = PROGRAM  # noqa: SLF001 - there is no other way to say it

"""
Makes Linux drop files from its page cache, so that the next program reads them from the disk. Beside what is named on the command
line (files and folders), everything that this Python is made of.

    python forget.py PATH...
"""
import os
import sys
import sysconfig

os.sync()
paths = {*sys.argv[1:], *sysconfig.get_paths().values(), os.path.dirname(os.__file__)}
for path in paths:
    files = [path] if os.path.isfile(path) else [os.path.join(at, name) for at, _, names in os.walk(path) for name in names]
    for name in files:
        try:
            file = os.open(name, os.O_RDONLY)
        except OSError:
            continue  # a link to nowhere
        os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(file)

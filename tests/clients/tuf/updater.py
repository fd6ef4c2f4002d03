"""Updates with python-tuf, the reference implementation, and gets a target.

    updater.py ROOT URL DIRECTORY TARGET     prints the target's path; or what was wrong, and exits with 1
"""

import pathlib
import sys

from tuf.ngclient import Updater

root, url, directory, target = sys.argv[1:]
directory = pathlib.Path(directory)
(directory / "targets").mkdir(parents=True, exist_ok=True)
try:
    updater = Updater(
        metadata_dir=str(directory),
        metadata_base_url=url,
        target_base_url=f"{url}/targets/",
        target_dir=str(directory / "targets"),
        bootstrap=pathlib.Path(root).read_bytes(),
    )
    updater.refresh()
    print(updater.download_target(updater.get_targetinfo(target)))
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")

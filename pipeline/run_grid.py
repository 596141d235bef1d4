"""The entry point of a Ray job: `ray job submit --working-dir . -- python pipeline/run_grid.py [EXPERIMENT] [options]`.

Takes the arguments of `msinet run`; without any it runs configs/demo.yaml.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # As a script this file's own folder leads the path; the packages stand one above.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from pipeline.cli import main

    main(["run", *sys.argv[1:]])

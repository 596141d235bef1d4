"""The entry point of a Ray job: `ray job submit --working-dir . -- python pipeline/run_grid.py [EXPERIMENT] [options]`.

The script takes the arguments of `msinet run`. Without arguments it runs configs/demo.yaml.
"""

import sys
from pathlib import Path

if __name__ == "__main__":
    # Python puts the folder of a script first on `sys.path`. The packages are in the folder above it.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from pipeline.cli import main

    main(["run", *sys.argv[1:]])

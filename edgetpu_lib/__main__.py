"""Start the command line: `python -m edgetpu_lib`."""

import sys

from edgetpu_lib.commands.main import main

if __name__ == "__main__":
    sys.exit(main())

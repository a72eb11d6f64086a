"""`python -m likelihood_gan` is the command `likelihood-gan`."""

import sys

from likelihood_gan.command_line import main

if __name__ == "__main__":
    sys.exit(main())

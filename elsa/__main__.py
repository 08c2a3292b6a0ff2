"""`python -m elsa` is the command `elsa`."""

from __future__ import annotations

from elsa.cli import main

if __name__ == "__main__":
    main()

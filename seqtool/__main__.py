"""`python -m seqtool` is the same program as `seqtool`."""

from __future__ import annotations

from seqtool.cli.app import main

if __name__ == "__main__":
    main()

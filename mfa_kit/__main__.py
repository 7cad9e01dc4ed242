"""Runs mfa-kit when it is started with `python -m mfa_kit`."""

from mfa_kit.cli.main import main

if __name__ == "__main__":
    main()

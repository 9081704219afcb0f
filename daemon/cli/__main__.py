"""`millwatch`, and `python -m daemon.cli` where that is not on the path."""

import sys


def main() -> None:
    """The commands take a second to load: Ctrl-C meanwhile ends that as it ends a command."""
    try:
        from daemon.cli.main import main as commands  # noqa: PLC0415 -- so that it can be ended

        commands()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

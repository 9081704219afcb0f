"""`python -m daemon.cli`: the same as `millwatch`, where the script is not on the path."""

from daemon.cli.main import main

if __name__ == "__main__":
    main()

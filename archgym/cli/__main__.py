"""`python -m archgym.cli`: the `archgym` program."""

from archgym.cli import main

if __name__ == "__main__":
    main()

"""`python -m hvae_mnn`: the command line."""

from hvae_mnn.cli.main import main

if __name__ == "__main__":
    main()

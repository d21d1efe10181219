"""`python -m nanograd.gradcheck`."""

from nanograd.gradcheck.check import main

if __name__ == "__main__":
    main()

"""The command line: `python -m graphattn`, or `graphattn` where the package is installed."""

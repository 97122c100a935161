"""What tests of steps look at: which were tried, and which ran again what was written down."""

from graphattn.kernels.native.replay import Replay


def watch_steps(monkeypatch, *places):
    """What comes of each step from now on; `places` are (module, function that it calls for a step)."""
    found = []
    for module, function in places:

        def watch(*given, function=function):
            found.append(function(*given))
            return found[-1]

        monkeypatch.setattr(module, function.__name__, watch)
    return found


def watch_runs(monkeypatch):
    """What runs again from now on, forward and backward."""
    found, run = [], Replay.run
    monkeypatch.setattr(Replay, "run", lambda *given: (found.append(given[0]), run(*given))[1])
    return found

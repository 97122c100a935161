"""The names of the loops in C that a module of `graphattn.kernels.native` runs."""


def names_of_loops(monkeypatch, module) -> list[str]:
    """They are added to the list as they run."""
    found, run = [], module.run
    monkeypatch.setattr(module, "run", lambda name, *given: (found.append(name), run(name, *given))[1])
    return found

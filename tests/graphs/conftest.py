from hypothesis import settings

# The same examples in every run, without a stopwatch: a failure can be repeated, a busy machine is no failure.
settings.register_profile("repeatable", derandomize=True, deadline=None, database=None)
settings.load_profile("repeatable")
